// Whole experiments on several worker processes of this machine: model hopper parallelism beside one worker.
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

/// Starts the program `hopyard`, which lies beside this one.
std::vector<BenchRow> bench_workers(const BenchScale& scale);

}  // namespace hopyard
