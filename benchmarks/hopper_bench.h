// How good the schedules of visits are, and how fast they are simulated.
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

/// Cerebro's Fig. 6: 16 or 256 configurations on 8 or 16 workers, equal or drawn (0.5–4 h an epoch; the worst of
/// several draws), 1 or 5 epochs: makespan ÷ lower bound for both orders. And a cluster of 1,024 workers.
std::vector<BenchRow> bench_hopper(const BenchScale& scale);

}  // namespace hopyard
