#include "experiment/worker_trials.h"

#include <algorithm>

#include "base/clock.h"
#include "hopper/trained_parts.h"

namespace hopyard {

namespace {

constexpr double kWaitSeconds = 0.05;
/// So long the tasks under way may take to end when all visits are given up.
constexpr double kGiveUpSeconds = 120;

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
  account.memory_budget = now.memory_budget;
  account.memory_peak = now.memory_peak;
  account.loaded = now.link.loaded - before.link.loaded;
  account.stored = now.link.stored - before.link.stored;
  return account;
}

Bytes row_bytes(const Dataset& data) {
  Bytes bytes = 0;
  for (const auto& column : data.columns()) bytes += Dataset::bytes_of_row(column);
  return bytes;
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

void WorkerTrials::leave(const std::string& id, std::uint32_t visits) {
  const auto found = trials_.find(id);
  if (found == trials_.end() || found->second.asked || found->second.rests_at != visits) return;
  release(found->second);
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

void WorkerTrials::get_on(bool others_wait) {
  meet_teams();
  for (auto& [id, trial] : trials_)
    if (can_begin(trial)) begin(trial);
  const auto short_of_room = [&] {
    return std::any_of(training_.begin(), training_.end(), [](const auto& entry) { return !entry->under_way; });
  };
  parts_.trainer.start_visits(training_, false);
  while ((others_wait || short_of_room()) && release_one()) {
    others_wait = false;
    parts_.trainer.start_visits(training_, false);
  }
}

void WorkerTrials::begin(Trial& trial) {
  const Train train = *std::exchange(trial.asked, std::nullopt);
  const std::shared_ptr<VisitTie> tie = std::exchange(trial.met, nullptr);
  if (!resolve(trial, train)) return;
  UnderWay visit = begin_at(trial, train);
  TrialEntry& entry = *trial.entry;
  entry.status.visits_done = train.visits;
  entry.visits_wanted = train.visits + 1;
  entry.steps = train.steps;
  entry.loss_sum = train.loss_sum;
  entry.loss_items = train.loss_items;
  entry.sent = SentVisit{train.partition, train.evaluate, train.judge_on};
  if (train.team) {
    entry.sent->share = {train.team->member, static_cast<std::uint32_t>(train.team->members.size())};
    entry.sent->tie = tie;
  }
  move(trial, resting_, training_);
  const std::lock_guard lock(mutex_);
  under_way_[train.spec.id] = std::move(visit);
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

/// The run that the trainer may hold is of use only if it rests at this very state.
WorkerTrials::UnderWay WorkerTrials::begin_at(Trial& trial, const Train& train) {
  TrialEntry& entry = *trial.entry;
  UnderWay visit;
  visit.entry = &entry;
  visit.number = train.number;
  if (train.visits > 0) visit.begins_at = parts_.states.lend(train.spec.id, train.visits);
  auto state = visit.begins_at ? versions_of(*visit.begins_at) : std::vector<BlobVersion>();
  if (trial.rests_at != train.visits || entry.state != state) release(trial);
  trial.rests_at.reset();
  entry.state = std::move(state);
  entry.digest = visit.begins_at ? visit.begins_at->digest : "";
  return visit;
}

bool WorkerTrials::is_training(const Trial& trial) const {
  return std::any_of(training_.begin(), training_.end(), [&](const auto& entry) { return entry.get() == trial.entry; });
}

void WorkerTrials::move(const Trial& trial, Entries& from, Entries& to) {
  const auto found = std::find_if(from.begin(), from.end(), [&](const auto& one) { return one.get() == trial.entry; });
  to.push_back(std::move(*found));
  from.erase(found);
}

void WorkerTrials::release(Trial& trial) {
  if (std::exchange(trial.rests_at, std::nullopt)) parts_.trainer.release(*trial.entry);
}

/// The one that has rested longest gives back its memory.
bool WorkerTrials::release_one() {
  for (const auto& entry : resting_) {
    Trial& trial = trials_.at(entry->status.spec.id);
    if (!trial.rests_at) continue;
    release(trial);
    return true;
  }
  return false;
}

void WorkerTrials::wait(double timeout_s) {
  for (auto& end : parts_.trainer.wait(timeout_s)) ended(std::move(end));
  // Those that are given up end without a word.
  for (auto& [id, trial] : trials_)
    if (is_training(trial) && is_given_up(id) && !trial.entry->under_way) rest(trial);
}

void WorkerTrials::ended(VisitEnd end) {
  const std::string& id = end.trial->status.spec.id;
  Trial& trial = trials_.at(id);
  if (end.commit) {
    committed(trial, *end.commit);
  } else if (!end.judged.empty()) {
    evaluated(trial, std::move(end.judged));
  } else if (!is_given_up(id)) {
    if (end.parted)
      parts_.say(Parted{number_of(id), id, end.failure});
    else
      parts_.say(Failed{number_of(id), id, end.failure, end.did_not_fit});
  }
  rest(trial);
}

void WorkerTrials::committed(Trial& trial, const VisitCommit& commit) {
  TrialEntry& entry = *trial.entry;
  entry.state = commit.state;
  entry.digest = commit.digest;
  trial.rests_at = ++entry.status.visits_done;
  const std::uint64_t rows = entry.setup.partitions->rows(commit.partition);
  account_.rows_read += rows;
  account_.bytes_read += rows * row_bytes(*entry.setup.train_data);
  if (commit.score) account_.rows_judged += judged_rows(entry.setup);
  const std::lock_guard lock(mutex_);
  UnderWay& visit = under_way_.at(commit.trial);
  if (!visit.given_up) {
    for (const auto& part : split(*visit.trained)) parts_.say(part);
    return parts_.say(*visit.trained);
  }
  release(trial);
  if (visit.trained) {
    // Unless another one has come in its place.
    const auto held = parts_.states.find(commit.trial, entry.status.visits_done);
    if (held == visit.committed) parts_.states.remove(commit.trial, entry.status.visits_done);
  } else
    parts_.states.give_back(*visit.committed);
}

/// The state is what it was, so the run may go on from there.
void WorkerTrials::evaluated(Trial& trial, std::vector<JudgedPartition> judged) {
  const TrialEntry& entry = *trial.entry;
  const std::string& id = entry.status.spec.id;
  trial.rests_at = entry.status.visits_done;
  for (auto& one : judged) {
    account_.rows_judged += entry.setup.valid_partitions->rows(one.partition);
    one.judged.rows = shortened(std::move(one.judged.rows), judged.size());
  }
  if (!is_given_up(id)) parts_.say(Evaluated{number_of(id), id, std::move(judged)});
}

void WorkerTrials::rest(Trial& trial) {
  std::unique_lock lock(mutex_);
  const auto visit = under_way_.extract(trial.entry->status.spec.id);
  lock.unlock();
  if (visit.mapped().begins_at) parts_.states.give_back(*visit.mapped().begins_at);
  if (const auto tie = std::exchange(trial.entry->sent->tie, nullptr)) account_.exchanged += tie->traffic().sent;
  move(trial, training_, resting_);
}

std::uint64_t WorkerTrials::number_of(const std::string& trial) const {
  const std::lock_guard lock(mutex_);
  return under_way_.at(trial).number;
}

bool WorkerTrials::is_given_up(const std::string& trial) const {
  const std::lock_guard lock(mutex_);
  const auto found = under_way_.find(trial);
  return found != under_way_.end() && found->second.given_up;
}

void WorkerTrials::commit_to_book(const VisitCommit& commit, const std::vector<CurvePoint>& curve) {
  const std::lock_guard lock(mutex_);
  UnderWay& visit = under_way_.at(commit.trial);
  HeldState state{commit.trial, visit.entry->status.visits_done + 1, commit.digest, {}};
  for (const auto& blob : commit.state)
    state.blobs.push_back({blob.blob, blob_bytes(visit.entry->setup, blob.blob), blob.version});
  if (visit.begins_at) parts_.states.committed(*visit.begins_at, state);
  visit.committed = state;
  if (visit.given_up) return;
  visit.trained = Trained{visit.number, commit, state.blobs, curve, {}};
  if (commit.score) visit.trained->rows = std::move(visit.rows);
  parts_.states.put(std::move(state));
}

void WorkerTrials::give_up() {
  for (const auto& [id, trial] : trials_) abandon(id);
  const double until_s = monotonic_seconds() + kGiveUpSeconds;
  while (!training_.empty()) {
    require(monotonic_seconds() < until_s, "a task does not end within ", kGiveUpSeconds, " s");
    wait(kWaitSeconds);
  }
  for (auto& [id, trial] : trials_) unresolve(trial);
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
