// What a coordinator asks of the trials here, and what is known of them.
#include "experiment/worker_trials.h"

#include <algorithm>

#include "base/clock.h"

namespace hopyard {

namespace {

/// What a device did since `before`.
DeviceAccount account_of(const DeviceReport& now, const DeviceReport& before) {
  DeviceAccount account;
  account.name = now.name;
  account.busy_s = now.busy_s - before.busy_s;
  for (const auto& [cause, seconds] : now.idle_s) {
    const auto known = before.idle_s.find(cause);
    account.idle.push_back({cause, seconds - (known == before.idle_s.end() ? 0 : known->second)});
  }
  account.tasks = now.tasks - before.tasks;
  account.recorded_steps = now.recorded_steps - before.recorded_steps;
  account.memory_budget = now.memory_budget;
  account.memory_peak = now.memory_peak;
  account.loaded = now.link.loaded - before.link.loaded;
  account.stored = now.link.stored - before.link.stored;
  return account;
}

}  // namespace

WorkerTrials::WorkerTrials(WorkerTrialsParts parts)
    : parts_(std::move(parts)),
      began_s_(monotonic_seconds()),
      devices_before_(parts_.trainer.devices()),
      meetings_(parts_.meet, [this] { parts_.trainer.nudge(); }) {
  parts_.trainer.open(
      [this](const VisitCommit& commit, const std::vector<CurvePoint>& curve) { commit_to_book(commit, curve); },
      [this](const TrialScore& score, const RowOutcomes& rows) {
        const std::lock_guard lock(mutex_);
        under_way_.at(score.trial).rows = rows;
      });
}

WorkerTrials::~WorkerTrials() { finish(); }

void WorkerTrials::train(Train train) {
  Trial& trial = trials_[train.spec.id];
  if (trial.asked || (is_training(trial) && !is_given_up(train.spec.id)))
    fail(ExitCode::input, "the coordinator asks for two visits of ", train.spec.id, " at a time");
  if (!is_here(train) && !is_coming(train)) return parts_.say(Missing{train.number, train.spec.id});
  trial.asked = std::move(train);
  if (trial.asked->team) meetings_.begin(*trial.asked);
}

/// Those whose order is still wanted have their team now, or say that it did not come.
void WorkerTrials::meet_teams() {
  for (auto& met : meetings_.take()) {
    Trial& trial = trials_[met.trial];
    if (!trial.asked || trial.asked->number != met.order) {
      if (met.tie) met.tie->cancel("the visit is given up");
    } else if (met.tie) {
      trial.met = std::move(met.tie);
    } else {
      trial.asked.reset();
      parts_.say(Parted{met.order, met.trial, met.error});
    }
  }
}

void WorkerTrials::forget(Trial& trial) {
  trial.asked.reset();
  if (trial.met) trial.met->cancel("the visit is given up");
  trial.met.reset();
}

bool WorkerTrials::is_here(const Train& train) const {
  if (train.visits == 0) return true;
  const auto held = parts_.states.find(train.spec.id, train.visits);
  return held && held->digest == train.digest;
}

bool WorkerTrials::is_coming(const Train& train) const {
  return std::any_of(coming_.begin(), coming_.end(), [&](const auto& hop) {
    return hop.second.trial == train.spec.id && hop.second.visits == train.visits && hop.second.digest == train.digest;
  });
}

void WorkerTrials::abandon(const std::string& id) {
  const auto found = trials_.find(id);
  if (found == trials_.end()) return;
  Trial& trial = found->second;
  forget(trial);
  if (!is_training(trial)) return;
  if (!trial.entry->under_way) return rest(trial);
  {
    const std::lock_guard lock(mutex_);
    under_way_.at(id).given_up = true;
  }
  if (trial.entry->sent->tie) trial.entry->sent->tie->cancel("the visit is given up");
  if (!trial.entry->committing) parts_.trainer.abandon(*trial.entry);
}

void WorkerTrials::keep(const Keep& keep) {
  if (keep.visits == 0) abandon(keep.trial);
  Trial& trial = trials_[keep.trial];
  for (const auto& state : parts_.states.of(keep.trial))
    if (state.visits != keep.visits) remove(trial, state);
  if (keep.visits == 0 && !is_training(trial)) unresolve(trial);
}

void WorkerTrials::expect(const Hop& hop) {
  const auto held = parts_.states.find(hop.trial, hop.visits);
  if (held && held->digest != hop.digest) remove(trials_[hop.trial], *held);
  coming_[hop.number] = hop;
}

void WorkerTrials::remove(Trial& trial, const HeldState& state) {
  if (trial.rests_at == state.visits) release(trial);
  parts_.states.remove(state.trial, state.visits);
}

bool WorkerTrials::can_begin(const Trial& trial) const {
  return trial.asked && !is_training(trial) && is_here(*trial.asked) && (!trial.asked->team || trial.met);
}

bool WorkerTrials::waits_for_state() const {
  return std::any_of(trials_.begin(), trials_.end(), [&](const auto& one) {
    return one.second.asked && !is_training(one.second) && !can_begin(one.second);
  });
}

/// False when the trial cannot run here, which has then been said.
bool WorkerTrials::resolve(Trial& trial, const Train& train) {
  if (trial.entry == nullptr) trial.entry = resting_.emplace_back(std::make_unique<TrialEntry>()).get();
  TrialEntry& entry = *trial.entry;
  if (!trial.resolved || entry.status.spec != train.spec || entry.status.settings != train.settings) {
    unresolve(trial);
    TrialSpec in_force = train.spec;
    in_force.settings = train.settings;
    try {
      entry.setup = parts_.resolve(in_force, train.spec.index);
    } catch (const Failure& refusal) {
      if (refusal.code() != ExitCode::capacity && refusal.code() != ExitCode::usage) throw;
      parts_.say(Failed{train.number, train.spec.id, refusal.what(), refusal.code() == ExitCode::capacity});
      return false;
    }
    entry.status.spec = train.spec;
    entry.status.settings = train.settings;
    entry.status.epochs = entry.setup.train.epochs;
    entry.status.visits_per_epoch = static_cast<std::uint32_t>(entry.setup.partitions->to_visit().size());
    parts_.trainer.want(entry);
    trial.resolved = true;
  }
  const auto& own = entry.setup.partitions->to_visit();
  const bool too_far = train.judge_on.empty() ? train.visits >= entry.visits_total()
                                              : train.visits == 0 || train.visits > entry.visits_total();
  check_judged(entry, train);
  if (!std::binary_search(own.begin(), own.end(), train.partition) || too_far)
    fail(ExitCode::input, "the coordinator asks for visit ", train.visits + 1, " of ", train.spec.id, ", of partition ",
         train.partition, "; it has ", entry.visits_total(), ", of ", own.size(), " partitions");
  return true;
}

/// Ascending, and each with rows that are here.
void WorkerTrials::check_judged(const TrialEntry& entry, const Train& train) {
  for (std::size_t i = 0; i < train.judge_on.size(); ++i) {
    const std::uint32_t partition = train.judge_on[i];
    const auto& all = entry.setup.valid_partitions;
    const bool there = all && partition < all->count() && all->rows(partition) > 0 &&
                       entry.setup.valid_data->has(all->shuffled(partition).front());
    if (!there || (i > 0 && partition <= train.judge_on[i - 1]))
      fail(ExitCode::input, "the coordinator asks to judge ", train.spec.id, " on partition ", partition,
           " of the validation rows, which is not here or out of order");
  }
}

void WorkerTrials::unresolve(Trial& trial) {
  if (!trial.resolved) return;
  release(trial);
  parts_.trainer.let_go(*trial.entry);
  trial.resolved = false;
}

bool WorkerTrials::is_training(const Trial& trial) const {
  return std::any_of(training_.begin(), training_.end(), [&](const auto& entry) { return entry.get() == trial.entry; });
}

void WorkerTrials::move(const Trial& trial, Entries& from, Entries& to) {
  const auto found = std::find_if(from.begin(), from.end(), [&](const auto& one) { return one.get() == trial.entry; });
  to.push_back(std::move(*found));
  from.erase(found);
}

bool WorkerTrials::trains() const {
  return std::any_of(training_.begin(), training_.end(), [](const auto& entry) { return entry->under_way; });
}

Progress WorkerTrials::progress() const {
  Progress progress;
  const auto active = parts_.trainer.active();
  for (const auto& entry : training_)
    for (const auto& report : active)
      if (report.trial == entry->setup.number && !is_given_up(entry->status.spec.id))
        progress.visits.push_back({entry->status.spec.id, report.visit_fraction, report.loss});
  for (const auto& device : parts_.trainer.devices())
    progress.devices.push_back({device.name, device.task, device.busy_s});
  return progress;
}

Account WorkerTrials::account() const {
  Account account = account_;
  account.here_s = monotonic_seconds() - began_s_;
  const auto devices = parts_.trainer.devices();
  for (std::size_t i = 0; i < devices.size(); ++i) {
    account.devices.push_back(account_of(devices[i], devices_before_[i]));
    account.busy_s += account.devices.back().busy_s;
  }
  return account;
}

}  // namespace hopyard
