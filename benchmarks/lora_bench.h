// LoRA trials of one backbone behind a slow link, with and without sharing its frozen weights, side by side.
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

std::vector<BenchRow> bench_lora(const BenchScale& scale);

}  // namespace hopyard
