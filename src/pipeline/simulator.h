// The executor's twin with a virtual clock: the same schedulers, the same rules of loading, computing and storing, no
// tensors. `plan` asks it how long a sweep will take. Pure: equal arguments give equal results, bit by bit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "partitioner/partitioner.h"
#include "pipeline/scheduler.h"

namespace hopyard {

/// What a device does for one shard of one trial.
struct SimTask {
  std::uint32_t shard = 0;
  double compute_s = 0;
  double load_s = 0, store_s = 0;  ///< alone on the link; the two directions do not disturb each other
  Bytes state_bytes = 0;           ///< on the device from its choice to the end of its compute
  Bytes workspace_bytes = 0;       ///< beside the state, while it computes
  Bytes stored_bytes = 0;          ///< what stays of the state until its store has ended
  Bytes stored_first = 0;          ///< of stored_bytes: what leaves as soon as it is home, before the rest
  double host_update_s = 0;        ///< then the shard is updated by the host's own thread, and home after that
  bool beside = false;             ///< that alone, and no device's
  std::uint64_t frozen = 0;        ///< equal for tasks with the same frozen bytes, which a device holds once; 0: none
  Bytes frozen_bytes = 0;          ///< of state_bytes
  double frozen_load_s = 0;        ///< of load_s: spared where they are on the device
};

/// Tasks that run one after another, `repeats` times: the training steps of a visit, or the evaluation batches.
struct SimPhase {
  std::vector<SimTask> tasks;
  std::uint64_t repeats = 1;
  bool ends_visit = false;  ///< the trial commits and gives its place in the active set to one that waits
  double commit_s = 0;      ///< time of that, during which the trial holds no device
};

/// A trial: its phases in order, `rounds` times (epochs). Phases without tasks or repeats are skipped.
struct SimTrial {
  std::vector<SimPhase> phases;
  std::uint64_t rounds = 1;
  double arrival_s = 0;
};

struct SimOptions {
  enum class Mode {
    sharp,           ///< any idle trial's next task on any device
    task_parallel,   ///< baseline: a whole trial on one device, as if it fitted
    model_parallel,  ///< baseline: one trial at a time, shard k on device k mod devices, all of it resident
  };
  Mode mode = Mode::sharp;
  std::uint32_t devices = 1;
  Bytes memory = 0;  ///< of each device; 0: no bound
  SchedulerKind scheduler = SchedulerKind::lrtf;
  std::uint64_t seed = 0;           ///< of SchedulerKind::random
  bool double_buffer = true;        ///< false: load, compute and store of a device one after another
  bool interleave = true;           ///< false: a device stays with its trial until the trial ends
  bool successor_competes = true;   ///< the running trial's next task stands for choice among the idle trials;
                                    ///< false: it is chosen only when no trial is idle
  bool choose_early = true;         ///< also what has no room yet, for a device that can choose nothing else
  std::uint32_t lookahead = 1;      ///< a device queues at most so many chosen tasks
  std::uint32_t active_trials = 0;  ///< at most so many are admitted at a time; 0: all
  std::size_t timeline_limit = 0;   ///< slices to keep
};

struct SimDevice {
  double busy_s = 0;          ///< computing
  double idle_load_s = 0;     ///< waiting for the load of a chosen task
  double idle_store_s = 0;    ///< waiting for a store: for the memory that it frees, or the bytes that it brings home
  double idle_no_work_s = 0;  ///< no trial had a task to give
  double load_s = 0, store_s = 0;  ///< the link's busy time, each way
  std::uint64_t tasks = 0;
  Bytes peak_bytes = 0;
  bool operator==(const SimDevice&) const = default;
};

struct SimSlice {
  enum class Kind { load, compute, store };
  Kind kind = Kind::compute;
  std::uint32_t device = 0, trial = 0, shard = 0;
  double begin_s = 0, end_s = 0;
  bool operator==(const SimSlice&) const = default;
};

struct SimResult {
  double makespan_s = 0;           ///< until the last byte is home
  std::vector<SimDevice> devices;  ///< busy + idle = makespan for each
  std::vector<double> finish_s;    ///< of each trial
  std::vector<SimSlice> timeline;  ///< in the order of beginning to be known; at most timeline_limit
  bool operator==(const SimResult&) const = default;
};

/// The rules, as the executor's. A device runs one task and queues up to `lookahead` chosen ones beside it; a trial has
/// tasks on one device at a time. Devices without a chosen task choose first; a longer queue is for trials that move
/// bytes, and holds several of them only while no other device has nothing. A task is chosen if its state fits
/// beside all states on the device and the largest workspace; a device for which there is no such task chooses one
/// early, loads it as soon as its state has room and computes it when its workspace has, too. Frozen bytes are loaded
/// by the first task that needs them and stay while any does. A task that only reads takes over its shard's bytes where
/// they are on the device, also on their way home; any other load waits for the store of the same shard. Updates beside
/// are made one after another by one thread of the host; what reads a shard is chosen when it is through. Loads enter
/// the link one after another, in the queue's order but for those that wait; stores leave in order. O(log n) a task,
/// O(devices · lookahead) a moment. Requires that every task fits the memory by itself.
SimResult simulate(const std::vector<SimTrial>& trials, const SimOptions& options);
/// The makespan only.
double predict_makespan(const std::vector<SimTrial>& trials, SimOptions options);
/// The same for any length of training: beyond about `tasks_max` tasks, all trials are cut short alike, and the time is
/// scaled up by the work left out. At least one repeat of each phase is simulated.
double estimate_makespan(std::vector<SimTrial> trials, const SimOptions& options, std::uint64_t tasks_max);

/// A training step of a plan, and the forward of one batch without training, as tasks on a device. `frozen`: of each
/// shard, what its frozen bytes are (SimTask::frozen); without it, they are nobody else's.
std::vector<SimTask> training_step(const PartitionPlan& plan, const DeviceLimits& device,
                                   std::span<const std::uint64_t> frozen = {});
std::vector<SimTask> evaluation_pass(const PartitionPlan& plan, const DeviceLimits& device,
                                     std::span<const std::uint64_t> frozen = {});

}  // namespace hopyard
