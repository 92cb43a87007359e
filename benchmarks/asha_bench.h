// How soon a search that gives up on trials is as good as one that trains them all.
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

/// Device time until ASHA has a score as good as the grid's best ÷ the grid's whole device time.
std::vector<BenchRow> bench_asha(const BenchScale& scale);

}  // namespace hopyard
