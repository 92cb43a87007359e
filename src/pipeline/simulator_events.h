// The simulator's event loop, and what its devices and trials hold; private to the simulator.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <vector>

#include "pipeline/simulator_cursor.h"

namespace hopyard::sim {

enum class EventKind { arrival, wake, load_end, compute_end, store_end, retry_load, updated };

struct Event {
  double at_s = 0;
  std::uint64_t number = 0;  ///< order of being made, for equal times
  EventKind kind = EventKind::arrival;
  std::uint32_t who = 0;  ///< a trial for arrival and wake, else a device
  bool operator>(const Event& other) const { return at_s != other.at_s ? at_s > other.at_s : number > other.number; }
};

/// A shard's bytes on a device. Tasks that take them over share them: they are as large as the largest share.
struct Copy {
  Bytes reserved = 0;
  std::vector<Bytes> shares;
};

/// Frozen bytes on a device, for all tasks there that have them.
struct FrozenCopy {
  Copy copy;
  bool requested = false, there = false;
};

/// A task that a device holds, chosen or running.
struct Held {
  std::uint32_t trial = 0;
  const SimTask* task = nullptr;
  std::shared_ptr<Copy> copy;
  bool takes_over = false;  ///< another task brought the copy
  std::shared_ptr<FrozenCopy> frozen;
  bool brings_frozen = false;
  Bytes own_bytes() const { return task->state_bytes - task->frozen_bytes; }
  bool ready() const { return step == Step::ready && (!frozen || frozen->there); }
  enum class Step { chosen, loading, ready } step = Step::chosen;
  bool early = false;          ///< chosen before its room is there
  Bytes pending = 0;           ///< early: what its load will bring, while that has not begun
  bool after_refusal = false;  ///< before, no idle trial's task fitted the device's memory
  double chosen_s = 0, load_begin_s = 0;
  double retry_s = -1;  ///< when its load is tried again
};

struct Stored {
  std::uint32_t trial = 0, shard = 0;
  std::shared_ptr<Copy> copy;
  Bytes bytes = 0;
  double end_s = 0;
};

struct Device {
  std::optional<Held> running;
  std::deque<Held> ahead;  ///< chosen, in their order
  std::deque<Stored> storing;
  std::map<std::uint64_t, std::weak_ptr<FrozenCopy>> frozen;  ///< by what they are
  bool loading = false;
  double free_since_s = 0;            ///< end of the last compute
  double store_free_s = 0;            ///< when the last store given to the engine ends
  Bytes used = 0;                     ///< by states, also those being stored; workspace comes on top
  Bytes pending = 0;                  ///< of used: is not there yet
  bool refused = false;               ///< an idle trial's task did not fit when the device last chose
  std::optional<std::uint32_t> home;  ///< without interleaving: the trial it stays with
  SimDevice gauges;
};

struct Trial {
  explicit Trial(const SimTrial& spec);
  SimCursor cursor;           ///< at the task that ends next
  SimCursor chosen;           ///< at the task that is chosen next
  bool visit_chosen = false;  ///< up to the end of the visit: nothing can be chosen before that
  bool moves = false;         ///< any of its tasks loads or stores
  std::uint64_t begun = 0;    ///< number of its visit, in the order of beginning
  bool idle = false;
  bool at_home = false;           ///< without interleaving: a device stays with it
  std::vector<double> stored_s;   ///< by shard: when its bytes are home
  std::vector<double> updated_s;  ///< by shard: when the last update beside has ended
  double home_s = 0;              ///< when all of them are
  bool can_follow() const { return !visit_chosen && !chosen.done() && !chosen.task().beside; }
};

/// Mode sharp, and what the baselines are made of. Tasks are checked already.
class Simulation {
 public:
  Simulation(const std::vector<SimTrial>& trials, const SimOptions& options);
  SimResult run();

 private:
  void push(double at_s, EventKind kind, std::uint32_t who) { events_.push({at_s, event_count_++, kind, who}); }
  void handle(const Event& event);
  // Trials
  void admit();
  void begin_visit(std::uint32_t index);
  void become_idle(std::uint32_t index);
  IdleTrial as_idle(std::uint32_t index) const;
  void move_on(std::uint32_t index, Device& device);
  void leave_active_set(std::uint32_t index, Device& device);
  // Choosing: simulator_choose.cc
  void dispatch();
  void choose_what_fits();
  bool choose_for(std::uint32_t d, bool early = false);
  bool may_choose_early(const Device& device) const;
  bool may_choose(const Device& device) const;
  void take(std::uint32_t d, std::uint32_t index, bool after_refusal, bool early);
  std::optional<std::uint32_t> choose_idle(Device& device, bool early);
  std::optional<std::uint32_t> choose_beside(Device& device, bool early);
  std::optional<std::uint32_t> pick(Device& device, bool early, const std::vector<std::uint32_t>& own = {});
  std::vector<std::uint32_t> trials_held(const Device& device) const;
  bool another_starves(const Device& device) const;
  bool admits(Device& device, std::uint32_t index, bool early);
  bool fits_beside(const Device& device, std::uint32_t index) const;
  bool reads_what_is_updated(const Device& device, std::uint32_t index) const;  ///< or is going to be
  std::shared_ptr<Copy> copy_there(const Device& device, std::uint32_t index, const SimTask& task) const;
  static std::shared_ptr<FrozenCopy> frozen_there(const Device& device, const SimTask& task);
  static std::shared_ptr<FrozenCopy> hold_frozen(Device& device, const SimTask& task);
  Standing standing_of(const Device& device, std::uint32_t index) const;
  // Tasks on a device
  void try_load(std::uint32_t d);
  bool bytes_home(std::uint32_t d, std::size_t place);
  void begin_load(std::uint32_t d, Held& held);
  static double load_seconds(const Held& held);
  bool has_room(const Device& device, Bytes bytes) const;
  void load_ended(std::uint32_t d);
  void try_compute(std::uint32_t d);
  void compute_ended(std::uint32_t d);
  void begin_store(std::uint32_t d, const Held& ended);
  void update_all(std::uint32_t trial, std::vector<const SimTask*> updates);
  void update_beside(std::uint32_t trial, const SimTask& task, double from_s);
  void store_ended(std::uint32_t d);
  double stored_s(std::uint32_t trial, std::uint32_t shard) const;
  // Accounts
  static void share(Device& device, Copy& copy, Bytes bytes);
  static void let_go(Device& device, Copy& copy, Bytes bytes);
  void explain_gap(Device& device, const Held& next) const;
  static void note_peak(Device& device);
  void record(SimSlice::Kind kind, std::uint32_t device, const Held& held, double begin_s, double end_s);
  SimResult finish();

  const SimOptions options_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Trial> trials_;
  std::vector<Device> devices_;
  std::map<std::uint64_t, std::uint32_t> frozen_users_;  // trials that have the same frozen bytes
  std::deque<std::uint32_t> waiting_;                    // arrived, not admitted
  std::uint32_t active_ = 0;
  std::size_t unfinished_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t event_count_ = 0, visits_begun_ = 0;
  double now_s_ = 0;
  double updated_s_ = 0;  // when the host's thread is through with all updates that it has
  SimResult result_;
};

inline bool same_shard(const Held& a, std::uint32_t trial, std::uint32_t shard) {
  return a.trial == trial && a.task->shard == shard;
}

}  // namespace hopyard::sim
