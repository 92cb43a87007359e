// Trials whose state stays in host memory while a card trains them in one way after another.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cuda/activity.h"
#include "engine_trials.h"
#include "gpu_card.h"
#include "pipeline/executor.h"
#include "spill/host_tier.h"

namespace hopyard {

/// One way of training them.
struct CardRun {
  std::uint32_t trials = 1;  ///< the first so many
  std::uint32_t steps = 3;   ///< of each, after one to warm up
  ExecuteSpec execute;
  bool one_at_a_time = false;    ///< each trial alone, one after another
  bool records_activity = true;  ///< where the card keeps a record
};

struct CardTimes {
  double wall_s = 0;  ///< of all steps of all trials
  double busy_s = 0;  ///< of it, what the compute thread spent on tasks
  LinkCounters link;
  std::uint64_t tasks = 0, recuts = 0, spared_forwards = 0, recorded_steps = 0;
  Bytes memory_peak = 0;
  std::optional<CardActivity> activity;  ///< by the card's own record
  std::string why_no_activity;
  /// What computing takes at least: the time of the kernels, or where nobody recorded it that of the tasks.
  double compute_s() const { return activity ? activity->kernel_s : busy_s; }
};

/// A trial of the model as `hopyard run` plans it for such a card, after measuring its layers there; cut as
/// execute.cuts says, if that says anything.
TrialSetup plan_on_card(const BenchModel& model, const TrainSpec& train, const GpuCard& card, const DeviceSpec& spec,
                        const ExecuteSpec& execute);
/// What a trial with all its state in the host tier takes there.
Bytes host_bytes(const TrialSetup& setup);
/// First layers of all shards but the first.
std::vector<std::uint32_t> cuts_of(const PartitionPlan& plan);

class StandingTrials {
 public:
  /// Trials alike but for their seeds. `host` must have room for them all. All must outlive it.
  StandingTrials(const BenchModel& model, const GpuCard& card, const DeviceSpec& spec, HostTier& host,
                 const TrialSetup& planned, std::uint32_t count);
  ~StandingTrials();
  CardTimes run(const CardRun& run);
  /// Of each trial: the losses of all its steps so far and its digest, as text that shows every bit.
  std::vector<std::string> outcomes();

 private:
  class Running;
  void visit(Executor& executor, const CardRun& run, std::uint32_t steps);
  void wake();

  const BenchModel& model_;
  const GpuCard& card_;
  const DeviceSpec spec_;
  HostTier& host_;
  std::unique_ptr<DiskTier> disk_;
  IoPool pool_;
  FrozenStore frozen_;
  std::mutex mutex_;              // guards executor_
  Executor* executor_ = nullptr;  ///< while a run is under way
  std::vector<std::shared_ptr<TrialRun>> trials_;
  std::vector<std::uint32_t> visits_;      ///< that each trial did
  std::vector<std::uint64_t> steps_done_;  ///< by each trial
  std::vector<std::string> losses_;        ///< of each trial
};

}  // namespace hopyard
