// How far predicted times are from those of the same run.
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

/// Sweeps of several shapes, each calibrated by the measurement with which its own run begins.
std::vector<BenchRow> bench_prediction(const BenchScale& scale);

}  // namespace hopyard
