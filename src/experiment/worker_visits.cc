// A visit at a worker, from its beginning to what comes of it.
#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "experiment/worker_trials.h"
#include "hopper/trained_parts.h"

namespace hopyard {

namespace {

constexpr double kWaitSeconds = 0.05;
/// So long the tasks under way may take to end when all visits are given up.
constexpr double kGiveUpSeconds = 120;

Bytes row_bytes(const Dataset& data) {
  Bytes bytes = 0;
  for (const auto& column : data.columns()) bytes += Dataset::bytes_of_row(column);
  return bytes;
}

}  // namespace

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

}  // namespace hopyard
