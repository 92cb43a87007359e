// The event loop of the simulator: mode sharp, and what the baselines are made of.
#include <algorithm>
#include <deque>
#include <queue>
#include <utility>

#include "base/failure.h"
#include "pipeline/simulation.h"

namespace hopyard {
namespace {

enum class EventKind { arrival, wake, load_end, compute_end, store_end, retry_load };

struct Event {
  double at_s = 0;
  std::uint64_t number = 0;  ///< order of being made, for equal times
  EventKind kind = EventKind::arrival;
  std::uint32_t who = 0;  ///< a trial for arrival and wake, else a device
  Bytes bytes = 0;        ///< that a store frees
  bool operator>(const Event& other) const { return at_s != other.at_s ? at_s > other.at_s : number > other.number; }
};

/// A task that a device holds, chosen or running.
struct Held {
  bool there = false;
  std::uint32_t trial = 0;
  const SimTask* task = nullptr;
  enum class Step { chosen, loading, ready } step = Step::chosen;
  bool after_refusal = false;  ///< before, no idle trial's task fitted the device's memory
  double chosen_s = 0, load_begin_s = 0, load_end_s = 0;
};

struct Device {
  Held running, next;
  double free_since_s = 0;            ///< end of the last compute
  double store_free_s = 0;            ///< when the last store given to the engine ends
  Bytes used = 0;                     ///< by states, also those being stored; workspace comes on top
  bool refused = false;               ///< an idle trial's task did not fit when the device last chose
  Held last;                          ///< what it computed last
  std::optional<std::uint32_t> home;  ///< without interleaving: the trial it stays with
  SimDevice gauges;
};

struct Trial {
  explicit Trial(const SimTrial& spec) : cursor(spec) {}
  SimCursor cursor;
  bool idle = false;
  bool at_home = false;          ///< without interleaving: a device stays with it
  std::vector<double> stored_s;  ///< by shard: when its bytes are home
  double home_s = 0;             ///< when all of them are
};

class Simulation {
 public:
  Simulation(const std::vector<SimTrial>& trials, const SimOptions& options)
      : options_(options), scheduler_(make_scheduler(options.scheduler, options.seed)), devices_(options.devices) {
    result_.finish_s.assign(trials.size(), 0);
    for (std::uint32_t i = 0; i < trials.size(); ++i) {
      trials_.emplace_back(trials[i]);
      if (trials_.back().cursor.done()) continue;
      ++unfinished_;
      push(trials[i].arrival_s, EventKind::arrival, i);
    }
  }

  SimResult run() {
    while (!events_.empty()) {
      now_s_ = events_.top().at_s;
      // All that happens at one moment happens before anything is chosen.
      while (!events_.empty() && events_.top().at_s == now_s_) {
        const Event event = events_.top();
        events_.pop();
        handle(event);
      }
      dispatch();
    }
    require(unfinished_ == 0, unfinished_, " simulated trials never finished");
    return finish();
  }

 private:
  void push(double at_s, EventKind kind, std::uint32_t who, Bytes bytes = 0) {
    events_.push({at_s, event_count_++, kind, who, bytes});
  }

  void handle(const Event& event) {
    switch (event.kind) {
      case EventKind::arrival:
        waiting_.push_back(event.who);
        return admit();
      case EventKind::wake:
        return become_idle(event.who);
      case EventKind::load_end:
        devices_[event.who].next.step = Held::Step::ready;
        return try_compute(event.who);
      case EventKind::compute_end:
        return compute_ended(event.who);
      case EventKind::store_end:
        devices_[event.who].used -= event.bytes;
        [[fallthrough]];
      case EventKind::retry_load:
        try_load(event.who);
        return try_compute(event.who);
    }
  }

  // Trials ------------------------------------------------------------------------------------------------------------

  void admit() {
    while (!waiting_.empty() && (options_.active_trials == 0 || active_ < options_.active_trials)) {
      ++active_;
      become_idle(waiting_.front());
      waiting_.pop_front();
    }
  }

  void become_idle(std::uint32_t trial) {
    trials_[trial].idle = true;
    scheduler_->add(as_idle(trial, trials_[trial].cursor));
  }

  static IdleTrial as_idle(std::uint32_t trial, const SimCursor& cursor) {
    return {trial, cursor.remaining_s(), cursor.total_s()};
  }

  /// After its task has ended on `device`: finished, out of the active set, committing, idle, or chosen again already.
  void move_on(std::uint32_t index, Device& device) {
    Trial& trial = trials_[index];
    const bool visit_ends = ends_visit(trial.cursor);
    const double commit_s = visit_ends ? trial.cursor.phase().commit_s : 0;
    trial.cursor.advance();
    if (trial.cursor.done()) {
      result_.finish_s[index] = trial.home_s + commit_s;
      --unfinished_;
      leave_active_set(index, device);
    } else if (visit_ends && !waiting_.empty()) {
      waiting_.push_back(index);  // its commit is taken to be over when its turn comes again
      leave_active_set(index, device);
    } else if (visit_ends) {
      push(trial.home_s + commit_s, EventKind::wake, index);
    } else if (!(device.next.there && device.next.trial == index)) {
      become_idle(index);
    }
  }

  void leave_active_set(std::uint32_t index, Device& device) {
    if (device.home == index) device.home.reset();
    trials_[index].at_home = false;
    --active_;
    admit();
  }

  static bool ends_visit(const SimCursor& cursor) { return cursor.phase().ends_visit && cursor.last_of_phase(); }

  // Choosing ----------------------------------------------------------------------------------------------------------

  /// Devices that compute nothing come first; then those that could load while they compute.
  void dispatch() {
    for (std::uint32_t d = 0; d < devices_.size(); ++d) {
      if (!devices_[d].running.there && !devices_[d].next.there) choose_for(d);
    }
    if (!options_.double_buffer) return;
    for (std::uint32_t d = 0; d < devices_.size(); ++d) {
      if (devices_[d].running.there && !devices_[d].next.there) choose_for(d);
    }
  }

  void choose_for(std::uint32_t d) {
    Device& device = devices_[d];
    if (!options_.double_buffer && now_s_ < device.store_free_s) return;
    const bool after_refusal = std::exchange(device.refused, false);
    const auto trial = device.running.there ? choose_beside(device) : choose_idle(device);
    if (!trial) return;
    Held& next = device.next;
    next = {true, *trial, &trials_[*trial].cursor.task(), Held::Step::chosen, after_refusal, now_s_};
    if (device.running.there && device.running.trial == *trial) {
      next.task = &successor(*trial).task();
    } else {
      take(*trial);
    }
    device.refused = false;
    device.used += next.task->state_bytes;
    note_peak(device);
    if (!options_.interleave) {
      device.home = *trial;
      trials_[*trial].at_home = true;
    }
    try_load(d);
    try_compute(d);
  }

  void take(std::uint32_t trial) {
    trials_[trial].idle = false;
    scheduler_->remove(trial);
  }

  /// The best trial whose next task fits the device now; `own`, when among the idle, stands with its successor.
  std::optional<std::uint32_t> pick(Device& device, std::optional<std::uint32_t> own = std::nullopt) {
    return scheduler_->pick([&](std::uint32_t trial) {
      if (trials_[trial].at_home && trial != own) return false;
      return admits(device, trial == own ? successor(trial).task() : trials_[trial].cursor.task());
    });
  }

  bool admits(Device& device, const SimTask& task) {
    const bool fits = fits_beside(device, task);
    if (!fits) device.refused = true;
    return fits;
  }

  /// Beside all states on the device and the larger of the two workspaces.
  bool fits_beside(const Device& device, const SimTask& task) const {
    if (options_.memory == 0 || (device.used == 0 && !device.running.there)) return true;
    const Bytes computing = device.running.there ? device.running.task->workspace_bytes : 0;
    return device.used + task.state_bytes + std::max(task.workspace_bytes, computing) <= options_.memory;
  }

  std::optional<std::uint32_t> choose_idle(Device& device) {
    if (!device.home) return pick(device);
    const Trial& home = trials_[*device.home];
    return home.idle && admits(device, home.cursor.task()) ? device.home : std::nullopt;
  }

  /// For a device that computes: an idle trial, or the running one's own next task.
  std::optional<std::uint32_t> choose_beside(Device& device) {
    const std::uint32_t own = device.running.trial;
    if (!follows_itself(own)) return options_.interleave || trial_ends(own) ? pick(device) : std::nullopt;
    if (options_.interleave && options_.successor_competes) {
      scheduler_->add(as_idle(own, successor(own)));
      const auto best = pick(device, own);
      scheduler_->remove(own);
      return best;
    }
    if (options_.interleave) {
      if (const auto idle = pick(device)) return idle;
    }
    return admits(device, successor(own).task()) ? std::optional(own) : std::nullopt;
  }

  SimCursor successor(std::uint32_t trial) const {
    SimCursor cursor = trials_[trial].cursor;
    cursor.advance();
    return cursor;
  }
  bool trial_ends(std::uint32_t trial) const { return successor(trial).done(); }
  /// Its next task can be chosen before the running one has ended.
  bool follows_itself(std::uint32_t trial) const { return !ends_visit(trials_[trial].cursor) && !trial_ends(trial); }

  // Tasks on a device -------------------------------------------------------------------------------------------------

  void try_load(std::uint32_t d) {
    const Device& device = devices_[d];
    const Held& next = device.next;
    if (!next.there || next.step != Held::Step::chosen) return;
    if (device.running.there && same_shard(device.running, next)) return;  // compute_ended looks again
    if (takes_over(device)) return begin_load(d, 0);
    const double home_s = stored_s(next.trial, next.task->shard);
    if (now_s_ < home_s) return push(home_s, EventKind::retry_load, d);
    begin_load(d, next.task->load_s);
  }

  static bool same_shard(const Held& a, const Held& b) { return a.trial == b.trial && a.task->shard == b.task->shard; }

  /// The chosen task only reads the shard that is still on the device, on its way home.
  bool takes_over(const Device& device) const {
    if (!options_.double_buffer || !device.last.there || !same_shard(device.last, device.next)) return false;
    return device.next.task->store_s == 0 && now_s_ < stored_s(device.last.trial, device.last.task->shard);
  }

  void begin_load(std::uint32_t d, double load_s) {
    Device& device = devices_[d];
    Held& next = device.next;
    device.gauges.load_s += load_s;
    next.load_begin_s = now_s_;
    next.load_end_s = now_s_ + load_s;
    next.step = load_s > 0 ? Held::Step::loading : Held::Step::ready;
    if (load_s > 0) push(next.load_end_s, EventKind::load_end, d);
    record(SimSlice::Kind::load, d, next, now_s_, next.load_end_s);
  }

  void try_compute(std::uint32_t d) {
    Device& device = devices_[d];
    Held& next = device.next;
    if (device.running.there || !next.there || next.step != Held::Step::ready) return;
    explain_gap(device);
    record(SimSlice::Kind::compute, d, next, now_s_, now_s_ + next.task->compute_s);
    push(now_s_ + next.task->compute_s, EventKind::compute_end, d);
    device.running = next;
    next = {};
    note_peak(device);
  }

  void compute_ended(std::uint32_t d) {
    Device& device = devices_[d];
    const Held ended = device.running;
    device.running = {};
    device.free_since_s = now_s_;
    device.gauges.busy_s += ended.task->compute_s;
    ++device.gauges.tasks;
    device.used -= ended.task->state_bytes;
    device.last = ended;
    begin_store(d, ended);
    move_on(ended.trial, device);
    try_load(d);
    try_compute(d);
  }

  void begin_store(std::uint32_t d, const Held& ended) {
    Device& device = devices_[d];
    Trial& trial = trials_[ended.trial];
    const double store_s = ended.task->store_s;
    double end_s = now_s_;
    if (store_s > 0) {
      const double begin_s = std::max(now_s_, device.store_free_s);
      device.store_free_s = end_s = begin_s + store_s;
      device.used += ended.task->stored_bytes;
      device.gauges.store_s += store_s;
      push(end_s, EventKind::store_end, d, ended.task->stored_bytes);
      record(SimSlice::Kind::store, d, ended, begin_s, end_s);
      set_stored_s(trial, ended.task->shard, end_s);
    }
    trial.home_s = std::max(trial.home_s, end_s);
  }

  double stored_s(std::uint32_t trial, std::uint32_t shard) const {
    const auto& stored = trials_[trial].stored_s;
    return shard < stored.size() ? stored[shard] : 0;
  }

  static void set_stored_s(Trial& trial, std::uint32_t shard, double at_s) {
    if (trial.stored_s.size() <= shard) trial.stored_s.resize(shard + 1, 0);
    trial.stored_s[shard] = at_s;
  }

  // Accounts ----------------------------------------------------------------------------------------------------------

  /// The time since the last compute, cut where the task that starts now was chosen and where its load began.
  void explain_gap(Device& device) {
    const Held& next = device.next;
    double from_s = device.free_since_s;
    const auto until = [&](double to_s) {
      const double part = std::max(0.0, to_s - from_s);
      from_s = std::max(from_s, to_s);
      return part;
    };
    if (!options_.double_buffer) device.gauges.idle_store_s += until(std::min(device.store_free_s, next.chosen_s));
    (next.after_refusal ? device.gauges.idle_store_s : device.gauges.idle_no_work_s) += until(next.chosen_s);
    device.gauges.idle_store_s += until(next.load_begin_s);
    device.gauges.idle_load_s += until(now_s_);
  }

  static void note_peak(Device& device) {
    const Bytes workspace = device.running.there ? device.running.task->workspace_bytes : 0;
    device.gauges.peak_bytes = std::max(device.gauges.peak_bytes, device.used + workspace);
  }

  void record(SimSlice::Kind kind, std::uint32_t device, const Held& held, double begin_s, double end_s) {
    if (result_.timeline.size() >= options_.timeline_limit || end_s <= begin_s) return;
    result_.timeline.push_back({kind, device, held.trial, held.task->shard, begin_s, end_s});
  }

  SimResult finish() {
    for (double finish_s : result_.finish_s) result_.makespan_s = std::max(result_.makespan_s, finish_s);
    for (Device& device : devices_) {
      const double storing_s = std::max(0.0, device.store_free_s - device.free_since_s);
      device.gauges.idle_store_s += storing_s;
      device.gauges.idle_no_work_s += std::max(0.0, result_.makespan_s - device.free_since_s - storing_s);
      result_.devices.push_back(device.gauges);
    }
    return std::move(result_);
  }

  const SimOptions options_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Trial> trials_;
  std::vector<Device> devices_;
  std::deque<std::uint32_t> waiting_;  // arrived, not admitted
  std::uint32_t active_ = 0;
  std::size_t unfinished_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t event_count_ = 0;
  double now_s_ = 0;
  SimResult result_;
};

}  // namespace

SimResult simulate_tasks(const std::vector<SimTrial>& trials, const SimOptions& options) {
  return Simulation(trials, options).run();
}

}  // namespace hopyard
