// Events of trials and devices, and what a device's time went to.
#include "pipeline/simulator_events.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/failure.h"

namespace hopyard::sim {

Trial::Trial(const SimTrial& spec) : cursor(spec), chosen(cursor) {
  for (const SimPhase& phase : spec.phases) {
    for (const SimTask& task : phase.tasks) moves |= task.load_s > 0 || task.store_s > 0;
  }
}

Simulation::Simulation(const std::vector<SimTrial>& trials, const SimOptions& options)
    : options_(options), scheduler_(make_scheduler(options.scheduler, options.seed)), devices_(options.devices) {
  result_.finish_s.assign(trials.size(), 0);
  for (std::uint32_t i = 0; i < trials.size(); ++i) {
    trials_.emplace_back(trials[i]);
    std::set<std::uint64_t> frozen;
    for (const SimPhase& phase : trials[i].phases)
      for (const SimTask& task : phase.tasks)
        if (task.frozen_bytes > 0) frozen.insert(task.frozen);
    for (const std::uint64_t content : frozen) ++frozen_users_[content];
    if (trials_.back().cursor.done()) continue;
    ++unfinished_;
    push(trials[i].arrival_s, EventKind::arrival, i);
  }
}

SimResult Simulation::run() {
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

void Simulation::handle(const Event& event) {
  switch (event.kind) {
    case EventKind::arrival:
      waiting_.push_back(event.who);
      return admit();
    case EventKind::wake:
      return begin_visit(event.who);
    case EventKind::load_end:
      load_ended(event.who);
      break;
    case EventKind::compute_end:
      compute_ended(event.who);
      break;
    case EventKind::store_end:
      store_ended(event.who);
      break;
    case EventKind::retry_load:
    case EventKind::updated:  // what waited for it may be chosen
      break;
  }
  try_load(event.who);
  try_compute(event.who);
}

// Trials --------------------------------------------------------------------------------------------------------------

void Simulation::admit() {
  while (!waiting_.empty() && (options_.active_trials == 0 || active_ < options_.active_trials)) {
    ++active_;
    begin_visit(waiting_.front());
    waiting_.pop_front();
  }
}

void Simulation::begin_visit(std::uint32_t index) {
  trials_[index].begun = ++visits_begun_;
  become_idle(index);
}

void Simulation::become_idle(std::uint32_t index) {
  trials_[index].idle = true;
  trials_[index].visit_chosen = false;
  scheduler_->add(as_idle(index));
}

IdleTrial Simulation::as_idle(std::uint32_t index) const {
  const Trial& trial = trials_[index];
  return {index, trial.chosen.remaining_s(), trial.chosen.total_s(), trial.begun};
}

/// After its task has ended on `device`: finished, out of the active set, committing, idle, or chosen again already.
void Simulation::move_on(std::uint32_t index, Device& device) {
  Trial& trial = trials_[index];
  bool visit_ends = trial.cursor.ends_visit();
  double commit_s = visit_ends ? trial.cursor.phase().commit_s : 0;
  trial.cursor.advance();
  std::vector<const SimTask*> updates;
  while (!visit_ends && !trial.cursor.done() && trial.cursor.task().beside) {
    updates.push_back(&trial.cursor.task());
    visit_ends = trial.cursor.ends_visit();
    commit_s = visit_ends ? trial.cursor.phase().commit_s : 0;
    trial.cursor.advance();
    trial.chosen.advance();
  }
  update_all(index, std::move(updates));
  if (trial.cursor.done()) {
    result_.finish_s[index] = trial.home_s + commit_s;
    --unfinished_;
    leave_active_set(index, device);
  } else if (visit_ends && !waiting_.empty()) {
    waiting_.push_back(index);  // its commit is taken to be over when its turn comes again
    leave_active_set(index, device);
  } else if (visit_ends) {
    push(trial.home_s + commit_s, EventKind::wake, index);
  } else if (std::none_of(device.ahead.begin(), device.ahead.end(), [&](const auto& h) { return h.trial == index; })) {
    become_idle(index);
  }
}

void Simulation::leave_active_set(std::uint32_t index, Device& device) {
  if (device.home == index) device.home.reset();
  trials_[index].at_home = false;
  --active_;
  admit();
}

// Tasks on a device ---------------------------------------------------------------------------------------------------

/// One load is on the link at a time; those whose bytes are not home yet let later ones go first.
void Simulation::try_load(std::uint32_t d) {
  Device& device = devices_[d];
  for (std::size_t place = 0; place < device.ahead.size(); ++place) {
    Held& held = device.ahead[place];
    if (held.step != Held::Step::chosen) continue;
    const bool link_free = !device.loading || load_seconds(held) == 0;
    const Bytes running = device.running ? device.running->task->workspace_bytes : 0;
    if (held.early && !has_room(device, running)) continue;
    if (link_free && (held.takes_over || bytes_home(d, place))) begin_load(d, held);
  }
}

/// For what was chosen early.
bool Simulation::has_room(const Device& device, Bytes workspace) const {
  const bool quiet = !device.running && device.storing.empty();
  return quiet || device.used + workspace <= options_.memory;
}

double Simulation::load_seconds(const Held& held) {
  const SimTask& task = *held.task;
  const bool brings_frozen = held.frozen && !held.frozen->requested;
  return (held.takes_over ? 0 : std::max(0.0, task.load_s - task.frozen_load_s)) +
         (brings_frozen ? task.frozen_load_s : 0);
}

bool Simulation::bytes_home(std::uint32_t d, std::size_t place) {
  const Device& device = devices_[d];
  Held& held = devices_[d].ahead[place];
  const auto will_write = [&](const Held& before) {  // compute_end looks again
    return before.task->store_s > 0 && same_shard(before, held.trial, held.task->shard);
  };
  if (device.running && will_write(*device.running)) return false;
  const auto until = device.ahead.begin() + static_cast<std::ptrdiff_t>(place);
  if (std::any_of(device.ahead.begin(), until, will_write)) return false;
  const double home_s = stored_s(held.trial, held.task->shard);
  if (now_s_ >= home_s) return true;
  if (std::exchange(held.retry_s, home_s) != home_s) push(home_s, EventKind::retry_load, d);
  return false;
}

void Simulation::begin_load(std::uint32_t d, Held& held) {
  Device& device = devices_[d];
  const double load_s = load_seconds(held);
  held.brings_frozen = held.frozen && !std::exchange(held.frozen->requested, true);
  device.gauges.load_s += load_s;
  held.load_begin_s = now_s_;
  device.pending -= std::exchange(held.pending, 0);
  held.step = load_s > 0 ? Held::Step::loading : Held::Step::ready;
  if (load_s == 0) {
    if (held.brings_frozen) held.frozen->there = true;
    return;
  }
  device.loading = true;
  push(now_s_ + load_s, EventKind::load_end, d);
  record(SimSlice::Kind::load, d, held, now_s_, now_s_ + load_s);
}

void Simulation::load_ended(std::uint32_t d) {
  Device& device = devices_[d];
  device.loading = false;
  for (Held& held : device.ahead) {
    if (held.step != Held::Step::loading) continue;
    held.step = Held::Step::ready;
    if (held.brings_frozen) held.frozen->there = true;
  }
}

void Simulation::try_compute(std::uint32_t d) {
  Device& device = devices_[d];
  if (device.running || device.ahead.empty() || !device.ahead.front().ready()) return;
  if (device.ahead.front().early && !has_room(device, device.ahead.front().task->workspace_bytes)) return;
  device.running = std::move(device.ahead.front());
  device.ahead.pop_front();
  explain_gap(device, *device.running);
  const double end_s = now_s_ + device.running->task->compute_s;
  record(SimSlice::Kind::compute, d, *device.running, now_s_, end_s);
  push(end_s, EventKind::compute_end, d);
  note_peak(device);
}

void Simulation::compute_ended(std::uint32_t d) {
  Device& device = devices_[d];
  const Held ended = *std::exchange(device.running, std::nullopt);
  device.free_since_s = now_s_;
  device.gauges.busy_s += ended.task->compute_s;
  ++device.gauges.tasks;
  let_go(device, *ended.copy, ended.own_bytes());
  if (ended.frozen) let_go(device, ended.frozen->copy, ended.task->frozen_bytes);
  begin_store(d, ended);
  move_on(ended.trial, device);
}

void Simulation::begin_store(std::uint32_t d, const Held& ended) {
  Device& device = devices_[d];
  Trial& trial = trials_[ended.trial];
  const std::uint32_t shard = ended.task->shard;
  double end_s = now_s_;
  if (ended.task->store_s > 0) {
    const double begin_s = std::max(now_s_, device.store_free_s);
    device.store_free_s = end_s = begin_s + ended.task->store_s;
    const auto hold_until = [&](Bytes bytes, double until_s) {
      device.storing.push_back({ended.trial, shard, ended.copy, bytes, until_s});
      share(device, *ended.copy, bytes);
      push(until_s, EventKind::store_end, d);
    };
    const Bytes stored = ended.task->stored_bytes, first = ended.task->stored_first;
    if (first > 0 && first < stored)
      hold_until(stored, begin_s + ended.task->store_s * static_cast<double>(first) / static_cast<double>(stored));
    hold_until(first < stored ? stored - first : stored, end_s);
    device.gauges.store_s += ended.task->store_s;
    record(SimSlice::Kind::store, d, ended, begin_s, end_s);
    if (trial.stored_s.size() <= shard) trial.stored_s.resize(shard + 1, 0);
    trial.stored_s[shard] = end_s;
  }
  trial.home_s = std::max(trial.home_s, end_s);
  if (ended.task->host_update_s > 0) update_beside(ended.trial, *ended.task, end_s);
}

/// A second pass: of what is home when the host's thread is free, the first; else what is home first.
void Simulation::update_all(std::uint32_t index, std::vector<const SimTask*> updates) {
  const auto home_s = [&](const SimTask* update) { return std::max(now_s_, stored_s(index, update->shard)); };
  while (!updates.empty()) {
    auto next = std::find_if(updates.begin(), updates.end(),
                             [&](const SimTask* update) { return home_s(update) <= std::max(now_s_, updated_s_); });
    if (next == updates.end())
      next = std::min_element(updates.begin(), updates.end(),
                              [&](const SimTask* a, const SimTask* b) { return home_s(a) < home_s(b); });
    update_beside(index, **next, home_s(*next));
    updates.erase(next);
  }
}

void Simulation::update_beside(std::uint32_t index, const SimTask& task, double from_s) {
  Trial& trial = trials_[index];
  updated_s_ = std::max(updated_s_, from_s) + task.host_update_s;
  for (auto* when : {&trial.stored_s, &trial.updated_s}) {
    if (when->size() <= task.shard) when->resize(task.shard + 1, 0);
    (*when)[task.shard] = updated_s_;
  }
  trial.home_s = std::max(trial.home_s, updated_s_);
  push(updated_s_, EventKind::updated, 0);
}

void Simulation::store_ended(std::uint32_t d) {
  Device& device = devices_[d];
  let_go(device, *device.storing.front().copy, device.storing.front().bytes);
  device.storing.pop_front();
}

double Simulation::stored_s(std::uint32_t trial, std::uint32_t shard) const {
  const auto& stored = trials_[trial].stored_s;
  return shard < stored.size() ? stored[shard] : 0;
}

// Accounts ------------------------------------------------------------------------------------------------------------

namespace {
/// Brings a copy's bytes on the device to its largest share.
void settle(Device& device, Copy& copy) {
  const Bytes largest = copy.shares.empty() ? 0 : *std::max_element(copy.shares.begin(), copy.shares.end());
  device.used += largest;
  device.used -= copy.reserved;
  copy.reserved = largest;
}
}  // namespace

void Simulation::share(Device& device, Copy& copy, Bytes bytes) {
  copy.shares.push_back(bytes);
  settle(device, copy);
}

void Simulation::let_go(Device& device, Copy& copy, Bytes bytes) {
  copy.shares.erase(std::find(copy.shares.begin(), copy.shares.end(), bytes));
  settle(device, copy);
}

/// The time since the last compute, cut where the task that starts now was chosen and where its load began.
void Simulation::explain_gap(Device& device, const Held& next) const {
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

void Simulation::note_peak(Device& device) {
  const Bytes workspace = device.running ? device.running->task->workspace_bytes : 0;
  device.gauges.peak_bytes = std::max(device.gauges.peak_bytes, device.used - device.pending + workspace);
}

void Simulation::record(SimSlice::Kind kind, std::uint32_t device, const Held& held, double begin_s, double end_s) {
  if (result_.timeline.size() >= options_.timeline_limit || end_s <= begin_s) return;
  result_.timeline.push_back({kind, device, held.trial, held.task->shard, begin_s, end_s});
}

SimResult Simulation::finish() {
  for (double finish_s : result_.finish_s) result_.makespan_s = std::max(result_.makespan_s, finish_s);
  for (Device& device : devices_) {
    const double storing_s = std::max(0.0, device.store_free_s - device.free_since_s);
    device.gauges.idle_store_s += storing_s;
    device.gauges.idle_no_work_s += std::max(0.0, result_.makespan_s - device.free_since_s - storing_s);
    result_.devices.push_back(device.gauges);
  }
  return std::move(result_);
}

}  // namespace hopyard::sim
