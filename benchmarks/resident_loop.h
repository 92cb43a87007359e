// The yardstick of cut trials on a card: a loop over the model, which is whole there, by the functions that compute
// tasks.
#pragma once

#include <vector>

#include "engine_trials.h"
#include "pipeline/compute_thread.h"

namespace hopyard {

/// Seconds of `steps` steps after one to warm up, by the clock of the host, when the device is through with them. The
/// forwards of all shards but the last, by `cuts`, are computed twice as for a cut trial, but nothing is moved. Updates
/// on the device.
double run_resident_loop(const BenchModel& model, const TrainSpec& train, const DeviceMaker& maker,
                         const std::vector<std::uint32_t>& cuts, std::uint32_t steps);

}  // namespace hopyard
