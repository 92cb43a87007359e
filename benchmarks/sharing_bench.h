// Sweeps with and without computing shared frozen layers once, side by side.
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

std::vector<BenchRow> bench_sharing(const BenchScale& scale);

}  // namespace hopyard
