// The engine against its yardsticks, side by side in one run.
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

std::vector<BenchRow> bench_resident(const BenchScale& scale);
std::vector<BenchRow> bench_one_cut_trial(const BenchScale& scale);
std::vector<BenchRow> bench_interleaved(const BenchScale& scale);
std::vector<BenchRow> bench_ablation(const BenchScale& scale);
std::vector<BenchRow> bench_streaming(const BenchScale& scale);

}  // namespace hopyard
