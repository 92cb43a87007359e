// Simulated trials and devices that tests share.
#pragma once

#include <utility>
#include <vector>

#include "pipeline/simulator.h"

namespace hopyard {

inline SimTrial trial_of(std::vector<SimTask> tasks, std::uint64_t repeats = 1) {
  SimTrial trial;
  trial.phases.push_back({std::move(tasks), repeats});
  return trial;
}

/// `units` tasks of equal length without transfers.
inline SimTrial unit_trial(std::uint64_t units, double unit_s) { return trial_of({{.compute_s = unit_s}}, units); }

inline SimOptions on_devices(std::uint32_t devices) {
  SimOptions options;
  options.devices = devices;
  return options;
}

inline SimOptions one_device(Bytes memory) {
  SimOptions options;
  options.memory = memory;
  options.timeline_limit = 1000;
  return options;
}

}  // namespace hopyard
