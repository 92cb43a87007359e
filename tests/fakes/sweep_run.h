// A whole sweep from a config, without a run directory: the workbench's plan and the experiment's loop over any disk
// and journal.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "experiment/experiment.h"
#include "experiment/local_trainer.h"
#include "fakes/memory_disk_tier.h"
#include "fakes/memory_journal.h"
#include "runtime/workbench.h"

namespace hopyard::fakes {

/// What a sweep gave, and what it was planned to be.
struct SweepResult {
  PlanView plan;
  std::map<std::string, std::string> outcomes;  ///< of each finished trial: digest and scores
  ExperimentEnd end = ExperimentEnd::finished;
  std::vector<DeviceReport> devices;
  std::vector<TraceSlice> slices;
  std::vector<MaterialisedDepth> materialised;
  std::map<std::string, double> device_s;  ///< of each trial
  Bytes host_peak = 0, disk_peak = 0;
  double wall_s = 0, materialise_s = 0;
};

/// What outlives a run, in memory.
struct SweepStore {
  MemoryJournal journal;
  std::shared_ptr<MemoryDisk> medium = std::make_shared<MemoryDisk>();
};

inline std::vector<std::unique_ptr<Device>> devices_of(Workbench& bench, TraceRecorder& trace) {
  std::vector<std::unique_ptr<Device>> devices;
  for (const auto& spec : bench.config().devices)
    for (std::uint32_t i = 0; i < spec.count; ++i)
      devices.push_back(spec.type == DeviceSpec::Type::cpu ? make_cpu_device(spec, i, bench.planner().cpu_workspace())
                                                           : make_emulated_device(spec, i, &trace));
  return devices;
}

inline std::map<std::string, std::string> outcomes_of(const Journal& journal) {
  std::map<std::string, std::string> outcomes;
  for (const auto& record : journal.trials()) {
    if (record.state != TrialState::finished) continue;
    auto& outcome = outcomes[record.spec.id] = record.last->digest;
    for (const auto& score : record.scores) {
      char text[96];
      std::snprintf(text, sizeof text, " %a %a %a", score.train_loss, score.valid_loss, score.metric);
      outcome += text;
    }
  }
  return outcomes;
}

inline constexpr std::uint32_t kOrders = 4;  ///< under way, where search.max_concurrent_trials does not say

/// Runs until everything has ended, or until `interrupt_after` lines were said of it. Grants computing on cpu devices
/// as `hopyard run` does.
inline SweepResult run_sweep(const ExperimentConfig& config, Journal& journal, DiskTier& disk,
                             int interrupt_after = -1) {
  install_counting_allocator();
  SweepResult result;
  Workbench bench(config, 1e9, 1e9);
  std::map<std::string, std::uint32_t> done;
  for (const auto& record : journal.trials())
    if (record.last) done[record.spec.id] = record.last->epoch * config.data.partitions + record.last->visit + 1;
  result.plan = bench.plan_all(done);
  forget_uncommitted(journal, disk);
  SharedVersions shared(disk);
  HostTier host(config.host_memory);
  std::vector<HostReservation> engine;
  engine.push_back(*host.reserve(bench.planner().inputs().staging));
  for (const auto& spec : config.devices)
    if (spec.type == DeviceSpec::Type::cpu)
      engine.push_back(*host.reserve(spec.count * bench.planner().cpu_workspace()));
  IoPool pool(2);
  FrozenStore frozen(host);
  TraceRecorder trace;
  std::atomic<bool> interrupted{false};
  const auto searcher = make_searcher(bench.config().search, config.space, config.seed);
  Executor executor(config.execute, config.seed, devices_of(bench, trace), host, &trace);
  {
    const auto event = [&](const std::string&) {
      if (--interrupt_after == 0) interrupted = true;
    };
    LocalTrainer trainer(
        {executor, host, shared, pool, frozen, config.search.metric, config.execute.active_trials, event});
    const std::uint32_t asked = config.search.max_concurrent_trials, orders = asked > 0 ? asked : kOrders;
    Experiment experiment({*searcher, journal, trainer, bench.partitions(), config.search.metric, orders, "resources",
                           [&](const TrialSpec& spec, std::uint32_t number) { return bench.resolve(spec, number); },
                           event, [] {}, interrupted});
    const double begin = monotonic_seconds();
    result.end = experiment.run();
    result.wall_s = monotonic_seconds() - begin;
    result.materialise_s = trainer.materialiser().busy_s();
    result.materialised = trainer.materialiser().depths();
    if (result.end == ExperimentEnd::interrupted) executor.stop();
  }
  result.devices = executor.devices();
  result.slices = trace.slices();
  result.host_peak = host.peak();
  result.disk_peak = disk.peak();
  result.outcomes = outcomes_of(journal);
  for (const auto& record : journal.trials()) result.device_s[record.spec.id] = record.seconds;
  return result;
}

inline SweepResult run_sweep(const ExperimentConfig& config, SweepStore& store, int interrupt_after = -1) {
  MemoryDiskTier disk(config.disk_capacity, store.medium);
  return run_sweep(config, store.journal, disk, interrupt_after);
}

}  // namespace hopyard::fakes
