// The simulator's entry: checks, the baselines, and what `plan` asks.
#include "pipeline/simulator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/failure.h"
#include "pipeline/simulator_events.h"

namespace hopyard {
namespace {

void check(const std::vector<SimTrial>& trials, const SimOptions& options) {
  require(options.devices > 0 && options.lookahead > 0, options.devices, " devices of ", options.lookahead, " tasks");
  for (const SimTrial& trial : trials) {
    for (const SimPhase& phase : trial.phases) {
      require(phase.tasks.empty() || !phase.tasks.front().beside, "a phase begins with an update beside");
      if (options.memory == 0) continue;
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
        task.load_s = task.store_s = task.frozen_load_s = 0;
        task.state_bytes = task.stored_bytes = task.workspace_bytes = task.frozen_bytes = 0;
        task.compute_s += std::exchange(task.host_update_s, 0);
        task.beside = false;
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

struct Work {
  double tasks = 0, compute_s = 0;
};

Work work_of(const std::vector<SimTrial>& trials) {
  Work work;
  for (const SimTrial& trial : trials) {
    for (const SimPhase& phase : trial.phases) {
      const double times = static_cast<double>(trial.rounds) * static_cast<double>(phase.repeats);
      work.tasks += times * static_cast<double>(phase.tasks.size());
      for (const SimTask& task : phase.tasks) work.compute_s += times * task.compute_s;
    }
  }
  return work;
}

/// Leaves out rounds, then repeats, until about `share` of the trial is left. Commits keep their part of the time.
void shorten(SimTrial& trial, double share) {
  const double rounds = static_cast<double>(trial.rounds) * share;
  trial.rounds = static_cast<std::uint64_t>(std::ceil(rounds));
  trial.arrival_s *= share;
  for (SimPhase& phase : trial.phases) {
    if (phase.repeats == 0) continue;
    const double repeats = static_cast<double>(phase.repeats) * rounds / static_cast<double>(trial.rounds);
    const auto left = std::clamp<std::uint64_t>(std::llround(repeats), 1, phase.repeats);
    phase.commit_s *= static_cast<double>(left) / static_cast<double>(phase.repeats);
    phase.repeats = left;
  }
}

}  // namespace

SimResult simulate(const std::vector<SimTrial>& trials, const SimOptions& options) {
  check(trials, options);
  if (options.mode == SimOptions::Mode::sharp) return sim::Simulation(trials, options).run();
  if (options.mode == SimOptions::Mode::model_parallel) return simulate_model_parallel(trials, options);
  SimOptions whole = options;
  whole.interleave = false;
  const auto resident = without_transfers(trials);
  return sim::Simulation(resident, whole).run();
}

double predict_makespan(const std::vector<SimTrial>& trials, SimOptions options) {
  options.timeline_limit = 0;
  return simulate(trials, options).makespan_s;
}

double estimate_makespan(std::vector<SimTrial> trials, const SimOptions& options, std::uint64_t tasks_max) {
  const Work whole = work_of(trials);
  if (whole.tasks <= static_cast<double>(tasks_max)) return predict_makespan(trials, options);
  for (SimTrial& trial : trials) {
    if (trial.rounds > 0) shorten(trial, static_cast<double>(tasks_max) / whole.tasks);
  }
  const Work left = work_of(trials);
  const double scale = left.compute_s > 0 ? whole.compute_s / left.compute_s : whole.tasks / left.tasks;
  return predict_makespan(trials, options) * scale;
}

}  // namespace hopyard
