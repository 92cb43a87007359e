// Schemes of training many trials on several workers beside each other, in one system: the shape of Cerebro's Fig. 7
// (Nakandala et al., VLDB 2020).
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

/// Task parallelism, synchronous data parallelism (exact, and by all-reduce), a parameter server, model hopper
/// parallelism with one trial at a time and interleaved: an MLP on four workers.
std::vector<BenchRow> bench_mlp_schemes(const BenchScale& scale);
/// The same: MiniLM on two workers, spilled on emulated devices.
std::vector<BenchRow> bench_minilm_schemes(const BenchScale& scale);

}  // namespace hopyard
