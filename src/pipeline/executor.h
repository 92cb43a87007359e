// Runs the tasks of the active trials on the devices: double buffering, interleaving, write-back, recovery from running
// out of memory. (Hydra's SHARP: Nagrecha & Kumar, VLDB 2023, §4.)
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/trace.h"
#include "device/device.h"
#include "pipeline/host_updates.h"
#include "pipeline/scheduler.h"
#include "pipeline/slot.h"
#include "pipeline/train_spec.h"
#include "pipeline/trial_run.h"

namespace hopyard {

struct StepLosses;

/// What a device did so far.
struct DeviceReport {
  std::string name, task;  ///< task: what it computes now, empty when idle
  double busy_s = 0;
  std::map<std::string, double> idle_s;  ///< by cause: disk, rounding (of a restored trial), load,
                                         ///< store, activation, memory, commit, exchange, update, no idle trial,
                                         ///< no work
  std::uint64_t tasks = 0, recuts = 0;
  std::uint64_t spared_forwards = 0;  ///< backward tasks that found what their forward saved
  std::uint64_t recorded_steps = 0;   ///< tasks that were asked for as a record
  Bytes memory_budget = 0, memory_used = 0, memory_peak = 0;
  LinkCounters link;
};

/// How far an active trial is.
struct ActiveReport {
  std::uint32_t trial = 0;
  double visit_fraction = 0;
  double loss = 0;  ///< of the last batch
  std::size_t shards = 0;
};

/// All public functions may be called from any thread.
class Executor {
 public:
  /// `trace` may be null. Devices compute on threads of the executor's own.
  Executor(const ExecuteSpec& spec, std::uint64_t seed, std::vector<std::unique_ptr<Device>> devices, HostTier& host,
           TraceRecorder* trace);
  ~Executor();  ///< as end()

  /// Trains one visit. The trial must not be in a visit already. Its BlobCache's wake must call wake().
  void start_visit(std::shared_ptr<TrialRun> trial, Visit visit);
  /// Ends the trial's visit, with Abandoned as its error, as soon as the task under way has ended: no other follows it.
  /// False when it is in no visit, so that its result is there already.
  bool abandon_visit(std::uint32_t trial);
  /// A visit that ended, well or with an error; nothing when `timeout_s` passed. The trial is idle then.
  std::optional<VisitResult> wait_finished(double timeout_s);
  /// Makes a wait_finished() return early, with nothing if nothing ended.
  void nudge();
  /// Disk work or a commit got on: look again at what waits.
  void wake();
  /// Trials that wait for a commit now; for the cause of idle time.
  void set_committing(std::uint32_t count);
  /// Stops taking new tasks; visits under way end as they are and are never reported. For Ctrl-C.
  void stop();
  /// Stops, waits for the tasks under way and lets go of all visits, with what ties them to others. Not from a
  /// callback. Nothing can be started any more; reports stay.
  void end();

  std::vector<DeviceReport> devices() const;
  std::vector<ActiveReport> active() const;
  /// One line for each device and trial: what it has and what it waits for. For whoever looks at a run that stands
  /// still.
  std::string diagnosis() const;

 private:
  /// Frozen bytes by what they are: a layer's shared part, equal for trials that share it, or one parameter of it.
  struct FrozenKey {
    const void* content = nullptr;
    std::optional<std::uint32_t> parameter;
    auto operator<=>(const FrozenKey&) const = default;
  };
  struct Resident {
    std::shared_ptr<Slot> slot;  ///< whose bytes and pins stay
    bool dirty = false;
    std::shared_ptr<RecordedPass> recorded;
    bool may_record = true;  ///< until its room was wanted, or the device could not
  };
  struct DeviceState {
    std::unique_ptr<Device> device;
    std::uint32_t index = 0;
    Bytes limit = 0;  ///< its account's, which does not change
    std::shared_ptr<Slot> current;
    std::deque<std::shared_ptr<Slot>> ahead;  ///< chosen, in the order in which they will compute
    std::vector<std::shared_ptr<Slot>> storing;
    std::deque<std::shared_ptr<KeptForward>> kept;           ///< the oldest first
    std::map<std::uint32_t, Resident> residents;             ///< trials that stay on the device until their visit ends
    std::map<FrozenKey, std::weak_ptr<DeviceBytes>> frozen;  ///< what any task holds there of frozen bytes
    std::optional<std::uint32_t> bound;                      ///< without interleaving: the one trial that it works on
    std::shared_ptr<std::atomic<Bytes>> ledger = std::make_shared<std::atomic<Bytes>>(0);
    bool refused_for_memory = false;
    bool failed = false;                  ///< and its trials were told
    std::atomic<bool> recording = false;  ///< its allocator gives back nothing meanwhile
    bool shallow = false;                 ///< memory was short: no task beyond the next until that one computes
    int given_up_loads = 0;               ///< of tasks that were given up while their bytes were on their way
    int stores_in_flight = 0;
    DeviceReport report;
    std::uint32_t track = 0;
    std::thread thread;
  };
  /// Of a visit whose steps are exchanged: the thread that waits for the other members.
  struct Exchanging {
    bool due = false, over = false;
    bool early = false;             ///< begins with what is home, while layers before are still computed
    std::vector<bool> home;         ///< by layer: the gradients of the step under way are in host memory
    std::shared_ptr<VisitTie> tie;  ///< of the visit that is over: ends without the lock, since links take time
    std::jthread thread;
  };
  struct Active {
    std::shared_ptr<TrialRun> trial;
    std::uint64_t begun = 0;            ///< number of its visit, in the order of beginning
    std::uint32_t slots = 0;            ///< chosen, computing or storing, or the exchange under way
    bool idle = false;                  ///< in the scheduler's set
    std::optional<std::uint32_t> home;  ///< the device that holds its resident state
    double loss = 0;
    std::exception_ptr error;
    std::unique_ptr<Exchanging> exchanging;
    /// In host memory beside devices: their turn has come, and they wait for their blobs or for gradients.
    std::deque<std::shared_ptr<Slot>> updates;
    std::uint32_t updates_under_way = 0;
  };
  struct Outcome;
  class HandOver;

  // executor.cc: threads and visits
  void run_device(DeviceState& device);
  std::shared_ptr<Slot> await_next(DeviceState& device, std::unique_lock<std::mutex>& lock);
  std::string idle_cause(const DeviceState& device) const;
  void account_idle(DeviceState& device, const std::string& cause, double begin, double end);
  void finish_visit_if_done(Active& active);
  void fail_trial(Active& active, std::exception_ptr error);
  void fail_all_if_failed(DeviceState& device);

  // updates.cc: updates in host memory; under the lock, but for compute_update()
  /// The trial's next tasks, if they are that: no device's where devices have memory of their own. When one fails the
  /// trial, the caller finishes the visit.
  void begin_updates(Active& active);
  bool submit_updates(Active& active);  ///< pins what it can, submits one that may run; true when the trial failed
  static bool waits_for_blobs(const Active& active);
  bool reads_what_is_updated(const Active& active, const TaskRef& task) const;  ///< or is going to be
  bool waits_for_update() const;                                                ///< any trial
  void drop_updates(Active& active);
  void update_beside(const std::shared_ptr<Slot>& slot);  ///< and then the slot is settled
  void compute_update(Slot& slot, const UpdateOrder& order);

  // exchange.cc: steps that several processes compute; under the lock, but for run_exchanges()
  void start_exchanging(Active& active);
  void note_home(Active& active, std::uint32_t begin, std::uint32_t end);  ///< gradients of layers [begin, end)
  void begin_exchange_if_due(Active& active);
  void run_exchanges(Exchanging& own, const std::shared_ptr<TrialRun>& trial);
  /// Each is called with the lock and may return, or throw, with it or without.
  std::vector<StepLosses> serve_step(Active& active, std::unique_lock<std::mutex>& lock);
  std::vector<StepLosses> exchange_step(Active& active, std::unique_lock<std::mutex>& lock);
  /// For what this process itself has still to do for the step; throws when it will not.
  void await_own(const Active& active, std::unique_lock<std::mutex>& lock, const std::function<bool()>& condition);
  void trace_exchange(const TrialRun& trial, double begin);
  void exchanged(Active& active, std::span<const StepLosses> steps, const std::exception_ptr& error);
  void leave_members(const Active& active, const std::exception_ptr& error);
  void cancel_exchanges(const std::string& reason);
  void end_exchanges();  ///< without the lock; after stop()
  bool waits_for_exchange() const;

  // choose.cc: choosing tasks; under the lock
  void dispatch();
  bool get_on();  ///< true when it chose or gave up a task, so that another round may do more
  bool quiet(const DeviceState& device) const;
  std::uint32_t tasks_held(const DeviceState& device, const TrialRun& trial) const;  ///< computing and ahead
  std::vector<Active*> trials_held(DeviceState& device);
  bool may_choose(const DeviceState& device) const;
  bool is_for_device(const Active& active, const TaskRef& task) const;
  /// `early`: a task whose room is not there yet, for a device that has no other to choose.
  bool choose(DeviceState& device, bool early = false);
  bool may_choose_early(const DeviceState& device) const;
  bool fits(const DeviceState& device, TrialRun& trial, const PlannedTask& task, bool early) const;
  Bytes leaving_bytes(const DeviceState& device) const;  ///< with what is computed and what is stored
  bool has_room(const DeviceState& device, const Slot& slot, Bytes workspace) const;  ///< which was chosen early
  Bytes workspace_needed(const DeviceState& device) const;                            ///< of the widest task there
  /// What of a layer, as it is after so many writes, a task need not load, since tasks before it leave it there.
  /// `until`: of those ahead, only the ones before this.
  LayerOnDevice bytes_there(const DeviceState& device, const TrialRun& trial, const TaskRef& task, std::uint32_t layer,
                            std::uint64_t after, const Slot* until) const;
  static std::shared_ptr<Slot> new_slot(const Active& active, const PlannedTask& task);  ///< of any kind, anywhere
  static void choose_writes(const Slot& slot);  ///< tasks behind it come after what it writes
  void assign(DeviceState& device, Active& active, const PlannedTask& task, bool early);
  void take_over(DeviceState& device, Slot& slot);
  void take_what_came(DeviceState& device, Slot& slot);
  static IdleTrial as_idle(const Active& active, std::uint32_t tasks_held);
  void set_idle(Active& active, bool idle);

  // frozen_bytes.cc: what trials have in common on a device; under the lock
  FrozenKey frozen_key(const TrialRun& trial, std::uint32_t layer, std::optional<std::uint32_t> parameter) const;
  DeviceHold find_frozen(const DeviceState& device, const FrozenKey& key) const;
  /// Found, or a place for them.
  DeviceHold hold_frozen(DeviceState& device, const FrozenKey& key, Bytes bytes, at::ScalarType type);
  BorrowedValue borrow_frozen(DeviceState& device, const TrialRun& trial, const TrialRun::TiedUse& use);
  Bytes borrowed_bytes_missing(const DeviceState& device, const TrialRun& trial, const ShardPlan& plan) const;
  void bring_frozen(Slot& slot, std::vector<CopyRequest>& transfers);  ///< what nobody has asked for yet
  Standing standing_of(const DeviceState& device, const TrialRun& trial) const;
  std::optional<std::uint32_t> pick(const DeviceState& device, const std::function<bool(std::uint32_t trial)>& accepts);

  // fetch.cc: bringing their bytes; under the lock
  bool fetch(DeviceState& device);              ///< true when it gave up a task
  bool pin(const std::shared_ptr<Slot>& slot);  ///< false when the trial failed
  /// All writes of these layers that come before the task, where it reads them from the host.
  static bool reads_what_is_home(const Slot& slot);
  bool may_load(const DeviceState& device, const Slot& slot) const;
  bool may_compute(const DeviceState& device, const Slot& slot) const;
  bool begin_load(DeviceState& device, const std::shared_ptr<Slot>& slot);  ///< false when there is no memory
  bool allocate(DeviceState& device, Slot& slot);
  void request_state(DeviceState& device, const std::shared_ptr<Slot>& slot);
  bool request_inputs(DeviceState& device, const std::shared_ptr<Slot>& slot);  ///< false when there is no memory
  bool request_input(DeviceState& device, const std::shared_ptr<Slot>& slot, SlotInput& input, const char* what);
  bool request_features(DeviceState& device, const std::shared_ptr<Slot>& slot, SlotInput& input);
  void request_tied_gradients(DeviceState& device, const std::shared_ptr<Slot>& slot);
  void load(DeviceState& device, const std::shared_ptr<Slot>& slot, std::vector<CopyRequest> transfers,
            std::string label, std::function<void()> arrived);
  void make_way(DeviceState& device, const std::shared_ptr<Slot>& slot);
  void prefetch(const DeviceState& device, const Slot& slot);
  void give_back_last(DeviceState& device);
  void give_up(DeviceState& device, const std::shared_ptr<Slot>& slot);

  // keep.cc: what spares work and goes when its room is wanted: forward passes that wait for their backward, and
  // records; under the lock
  Bytes kept_bytes(const DeviceState& device) const;
  void find_kept(DeviceState& device, Slot& slot);  ///< of the forward that the slot is the backward of
  void keep_if_room(DeviceState& device, Slot& slot);
  void drop_kept(DeviceState& device, Bytes needed);  ///< until so many bytes are free, or nothing is kept
  bool give_up_kept(DeviceState& device);             ///< all; false when nothing was kept
  void forget_kept(const TrialRun& trial, const DeviceState* but = nullptr);  ///< on all devices but that one
  void find_record(DeviceState& device, Slot& slot);                          ///< or makes room for one
  void note_record(DeviceState& device, Slot& slot);                          ///< once its task has ended
  bool drop_record(DeviceState& device);                                      ///< one that no task uses now

  // compute.cc: computing a task, without the lock
  Outcome compute_to_end(DeviceState& device, Slot& slot);  ///< and nothing of it runs any more, if it throws as well
  Outcome compute(DeviceState& device, Slot& slot);
  void compute_backward(Slot& slot, const ComputeContext& context, std::span<const at::Tensor> inputs,
                        std::span<const at::Tensor> gradients, Outcome& outcome);
  static BackwardOutput go_backward(Slot& slot, const ComputeContext& context, std::span<const at::Tensor> inputs,
                                    std::span<const at::Tensor> gradients, LastGradients* last);
  void leave_for_exchange(TrialRun& trial, std::span<LoadedLayer> layers, BackwardOutput& output,
                          const HandOver* handed, Outcome& outcome);
  /// Null where an exchange takes nothing before the task has ended. (hand_over.cc)
  std::unique_ptr<HandOver> hand_over(const Slot& slot, std::span<LoadedLayer> layers);
  void add_tied(const Slot& slot, std::span<LoadedLayer> layers, Outcome& outcome);
  void update_or_keep(Slot& slot, const ComputeContext& context, Outcome& outcome);
  std::vector<at::Tensor> input_tensors(DeviceState& device, const Slot& slot, const SlotInput& input) const;
  void copy_out(Slot& slot, Outcome& outcome);
  std::vector<LoadedLayer> loaded_layers(DeviceState& device, Slot& slot);

  // completion.cc: what follows; under the lock
  void take_result(Active& active, const Slot& slot, const Outcome& outcome);
  void take_losses(Active& active, std::uint64_t step, std::span<const MicroBatchLoss> losses);
  void complete(DeviceState& device, const std::shared_ptr<Slot>& slot, Outcome outcome);
  void store_boundary(DeviceState& device, const std::shared_ptr<TrialRun>& trial, Boundary& boundary,
                      std::function<void()> done);
  void send_home(const std::shared_ptr<TrialRun>& trial, Boundary& boundary);  ///< what is kept on a device
  void store_state(DeviceState& device, const std::shared_ptr<Slot>& slot, Outcome& outcome);
  void store_moments(DeviceState& device, const std::shared_ptr<Slot>& slot);
  void store_features(DeviceState& device, const std::shared_ptr<Slot>& slot, Outcome& outcome);
  void store(DeviceState& device, std::vector<CopyRequest> transfers, std::string label, std::function<void()> done);
  void settle(DeviceState& device, const std::shared_ptr<Slot>& slot);
  void settled(DeviceState& device, const std::shared_ptr<Slot>& slot);
  void save_input_for_recompute(DeviceState& device, const std::shared_ptr<Slot>& slot);
  std::vector<CopyRequest> moments_back(const Slot& holder) const;
  std::vector<CopyRequest> values_back(const Slot& holder) const;  ///< parameters, and copies of them
  std::vector<CopyRequest> write_back(const Slot& holder) const;   ///< both
  void evict_resident(DeviceState& device, std::uint32_t trial, std::function<void()> then);
  void make_room(DeviceState& device, std::uint32_t trial);
  bool keep_resident(DeviceState& device, const std::shared_ptr<Slot>& slot);
  bool recover(DeviceState& device, const std::shared_ptr<Slot>& slot, const DeviceOutOfMemory& error);
  void cut_or_fail(DeviceState& device, const std::shared_ptr<Slot>& slot, Bytes needed);
  void unpin(Slot& slot, bool dirty);

  const ExecuteSpec spec_;
  const SchedulerKind scheduler_kind_;
  HostTier& host_;
  TraceRecorder* const trace_;
  std::vector<std::unique_ptr<DeviceState>> devices_;
  mutable std::mutex mutex_;  // guards all below and what is in devices_
  std::condition_variable changed_, finished_changed_;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<std::uint32_t, Active> active_;
  std::uint64_t visits_begun_ = 0;
  std::deque<VisitResult> finished_;
  std::vector<std::shared_ptr<TrialRun>> retired_;  ///< let go without the lock, which their disk work takes to wake us
  std::vector<std::unique_ptr<Exchanging>> retired_exchanging_;  ///< joined without the lock, which they take
  std::optional<std::uint32_t> exchange_track_;                  ///< of the trace, once there is something to trace
  std::unique_ptr<HostUpdates> host_updates_;                    ///< null where no device has memory of its own
  bool second_pass_runs_ = false;                                ///< there, or is queued
  std::optional<std::uint32_t> update_track_;                    ///< of the trace, likewise
  std::uint32_t committing_ = 0;
  std::uint32_t transfers_in_flight_ = 0;
  bool stopping_ = false, nudged_ = false;
};

}  // namespace hopyard
