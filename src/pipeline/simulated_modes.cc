// The simulator's entry: checks, the baselines, and what `plan` asks.
#include <limits>

#include "base/failure.h"
#include "pipeline/simulation.h"

namespace hopyard {
namespace {

void check(const std::vector<SimTrial>& trials, const SimOptions& options) {
  require(options.devices > 0, "a simulation needs a device");
  if (options.memory == 0) return;
  for (const SimTrial& trial : trials) {
    for (const SimPhase& phase : trial.phases) {
      for (const SimTask& task : phase.tasks) {
        const Bytes needed = task.state_bytes + task.workspace_bytes;
        require(needed <= options.memory, "a task needs ", needed, " bytes of a device of ", options.memory);
      }
    }
  }
}

/// As if every trial fitted its device whole.
std::vector<SimTrial> without_transfers(std::vector<SimTrial> trials) {
  for (SimTrial& trial : trials) {
    for (SimPhase& phase : trial.phases) {
      for (SimTask& task : phase.tasks) {
        task.load_s = task.store_s = 0;
        task.state_bytes = task.stored_bytes = task.workspace_bytes = 0;
      }
    }
  }
  return trials;
}

/// One trial at a time over all devices: as one device that runs whole trials, its busy time shared out by shard.
SimResult simulate_model_parallel(const std::vector<SimTrial>& trials, const SimOptions& options) {
  SimOptions one = options;
  one.mode = SimOptions::Mode::task_parallel;
  one.devices = 1;
  one.timeline_limit = std::numeric_limits<std::size_t>::max();
  SimResult result = simulate(trials, one);
  result.devices.assign(options.devices, {});
  for (SimSlice& slice : result.timeline) {
    slice.device = slice.shard % options.devices;
    result.devices[slice.device].busy_s += slice.end_s - slice.begin_s;
    ++result.devices[slice.device].tasks;
  }
  for (SimDevice& device : result.devices) device.idle_no_work_s = result.makespan_s - device.busy_s;
  if (result.timeline.size() > options.timeline_limit) result.timeline.resize(options.timeline_limit);
  return result;
}

}  // namespace

SimResult simulate(const std::vector<SimTrial>& trials, const SimOptions& options) {
  check(trials, options);
  if (options.mode == SimOptions::Mode::sharp) return simulate_tasks(trials, options);
  if (options.mode == SimOptions::Mode::model_parallel) return simulate_model_parallel(trials, options);
  SimOptions whole = options;
  whole.interleave = false;
  return simulate_tasks(without_transfers(trials), whole);
}

double predict_makespan(const std::vector<SimTrial>& trials, SimOptions options) {
  options.timeline_limit = 0;
  return simulate(trials, options).makespan_s;
}

}  // namespace hopyard
