// From a trained visit to its commit.
#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "experiment/hopping_trainer.h"
#include "formats/json.h"
#include "hopper/bounds.h"
#include "hopper/trained_parts.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kTeamTries = 3;  // of a visit; then it changes, somebody has to leave, or the trial has failed

}  // namespace

std::string failed_visit_fact(const std::string& trial) { return "failed visit: " + trial; }

/// Whose visit under way that order is; null when it is none any more.
HoppingTrainer::Job* HoppingTrainer::ordered(const std::string& trial, std::uint64_t order) {
  const auto found = jobs_.find(trial);
  return found != jobs_.end() && found->second.visit && found->second.order == order ? &found->second : nullptr;
}

void HoppingTrainer::set_holders(Job& job, std::set<std::uint32_t> holders) {
  job.holders = std::move(holders);
  if (job.number) shop_.held_by(*job.number, {job.holders.begin(), job.holders.end()});
}

void HoppingTrainer::trained(std::uint32_t worker, TrainedPart part) {
  if (Job* job = ordered(part.trial, part.number); job != nullptr && !job->trained && job->visit->is_at(worker))
    job->parts[worker].push_back(std::move(part));
}

void HoppingTrainer::trained(std::uint32_t worker, Trained end) {
  Job* job = ordered(end.commit.trial, end.number);
  if (job == nullptr || job->trained) return;
  const PlacedVisit visit = *job->visit;
  if (!visit.is_at(worker) || visit.epoch != end.commit.epoch || visit.visit != end.commit.visit ||
      visit.partition != end.commit.partition)
    fail(ExitCode::input, "worker ", worker, ": ", end.commit.trial, " was trained otherwise than it was asked to");
  end = join(std::exchange(job->parts[worker], {}), std::move(end));
  ++report_.workers[worker].visits;
  job->said[worker] = std::move(end);
  job->nowhere = {};
  if (job->said.size() < visit.size() || !agrees(*job)) return;
  shop_.trained(visit);
  if (visit.size() > 1) ++report_.team_visits;
  job->entry->committing = true;
  job->trained = std::move(job->said.at(visit.worker));
  job->said.clear();
  for (const std::uint32_t member : visit.members()) job->copies.insert(member);
  get_on(*job);
}

/// Whether all members have trained the same state. Otherwise the visit is void, and what they hold goes.
bool HoppingTrainer::agrees(Job& job) {
  const PlacedVisit visit = *job.visit;
  const std::string& digest = job.said.at(visit.worker).commit.digest;
  const auto other = std::find_if(job.said.begin(), job.said.end(),
                                  [&](const auto& said) { return said.second.commit.digest != digest; });
  if (other == job.said.end()) return true;
  const TrialEntry& trial = *job.entry;
  const std::string sentence =
      text::cat("workers ", visit.worker, " and ", other->first, " trained sub-epoch ", trial.status.visits_done + 1,
                " together and have states with different digests");
  parts_.event(text::cat(trial.status.spec.id, ": ", sentence));
  stop_visit(job);
  for (const std::uint32_t member : visit.members()) send(member, Keep{trial.status.spec.id, trial.status.visits_done});
  if (++job.disagreements < kTeamTries) return false;
  note_failed_visit(trial, visit.partition);
  ends_.push_back({.trial = job.entry, .failure = sentence});
  return false;
}

void HoppingTrainer::note_failed_visit(const TrialEntry& trial, std::uint32_t partition) {
  journal_->put_fact(failed_visit_fact(trial.status.spec.id),
                     Json{{"visits", trial.status.visits_done}, {"partition", partition}}.dump());
}

void HoppingTrainer::failed(const Failed& end) {
  Job* job = ordered(end.trial, end.number);
  if (job == nullptr) job = judged_by(end.trial, end.number);
  if (job == nullptr) return;
  note_failed_visit(*job->entry, job->visit->partition);
  call_back(*job);
  VisitEnd failure;
  failure.trial = job->entry;
  failure.failure = end.sentence;
  failure.did_not_fit = end.did_not_fit;
  ends_.push_back(std::move(failure));
}

void HoppingTrainer::missing(std::uint32_t worker, const Missing& end) {
  if (lost_judging(worker, end)) return;
  Job* job = ordered(end.trial, end.number);
  if (job == nullptr) return;
  parts_.event(text::cat("worker ", worker, ": has no such state of ", end.trial));
  auto holders = job->holders;
  holders.erase(worker);
  call_back(*job);
  set_holders(*job, std::move(holders));
}

/// Where one worker gives the same bits, it trains the visit. Otherwise others get on without the one who says so, and
/// it may come again.
void HoppingTrainer::parted(std::uint32_t worker, const Parted& end) {
  Job* job = ordered(end.trial, end.number);
  if (job == nullptr) return;
  ++report_.parted_teams;
  parts_.event(text::cat(end.trial, ": its team fell apart at worker ", worker, ": ", end.sentence));
  call_back(*job);
  const bool is_exact = job->entry->setup.train.data_parallel.is_exact();
  if (!is_exact) gets_nowhere(*job, text::cat("its team falls apart at worker ", worker, ": ", end.sentence));
  if (++job->failed_teams < kTeamTries) return;
  job->failed_teams = 0;
  if (is_exact) {
    parts_.event(text::cat(end.trial, ": one worker trains its next visit alone"));
    return shop_.leave_alone(*job->number);
  }
  parts_.end.expel(*members_[worker].id, text::cat("its teams fall apart: ", end.sentence));
}

/// A visit that has not begun gets its state. One that is trained is committed when enough workers hold its state;
/// those that are still to get it are told.
void HoppingTrainer::get_on(Job& job) {
  if (!job.visit) return;
  if (!job.trained) {
    if (!order_starts(job)) return call_back(job);
    const bool one_waits =
        job.visit->size() == 1 && under_way_to(job.entry->status.spec.id, job.entry->digest, job.visit->worker);
    if (!job.asked && (one_waits || all_can_start(job))) ask(job);
    return;
  }
  const TrialEntry& trial = *job.entry;
  const std::uint32_t visits = trial.status.visits_done + 1;
  const std::uint32_t enough = std::min(parts_.state_replicas, living());
  const bool goes_home = visits == trial.visits_total() && alive(0);
  std::vector<std::uint32_t> needed = judges_missing(job);  // copies that count as others do
  if (goes_home) needed.insert(needed.begin(), 0);
  const auto next = goes_next(job);
  const auto go_to = [&](std::uint32_t target) {
    if (const auto way = way_to(job, target, job.copies, job.visit->worker))
      order_hop(job, way->from, way->to, visits, job.trained->blobs, way->to == next);
  };
  for (const std::uint32_t target : needed) go_to(target);
  std::vector<std::uint32_t> replicas = replica_targets(shop_, parts_.scheduler, *job.visit, living());
  std::stable_partition(replicas.begin(), replicas.end(),
                        [&](std::uint32_t target) { return sender_to(target, job.copies).has_value(); });
  for (const std::uint32_t target : replicas) {
    if (copies_coming(job) >= enough) break;
    go_to(target);
  }
  order_judging(job);
  if (job.copies.size() >= enough && (!goes_home || job.copies.contains(0)) && is_judged(job)) commit(job);
}

/// The worker that leads the trained trial's next visit, unless it is there or is judged first, or the one that leads
/// this visit takes part in that one.
std::optional<std::uint32_t> HoppingTrainer::goes_next(const Job& job) const {
  if (job.to_judge) return std::nullopt;
  const auto next = parts_.scheduler.after(shop_, *job.visit);
  if (!next || job.visit->is_at(next->worker) || next->is_at(job.visit->worker)) return std::nullopt;
  return next->worker;
}

void HoppingTrainer::commit(Job& job) {
  Trained done = *std::exchange(job.trained, std::nullopt);
  TrialEntry& trial = *job.entry;
  add_score(job, done);
  stop_judging(job);
  if (done.commit.score && done.rows && parts_.keep_outcomes) parts_.keep_outcomes(*done.commit.score, *done.rows);
  journal_->commit(done.commit, done.curve);
  expect_bytes(job, done);
  shop_.commit(*job.visit, {job.copies.begin(), job.copies.end()});
  const double of_team_s = done.commit.seconds * job.visit->size() / shop_.trial(*job.number).degree;
  shop_.predict(*job.number, std::max(of_team_s, 1e-6));
  const std::set<std::uint32_t> before = std::exchange(job.holders, std::exchange(job.copies, {}));
  job.blobs = std::move(done.blobs);
  job.visit.reset();
  job.failed_teams = job.disagreements = 0;
  job.nowhere = {};
  trial.under_way = trial.committing = false;
  if (!done.curve.empty()) trial.status.loss = done.curve.back().loss;
  const Keep keep{trial.status.spec.id, trial.status.visits_done + 1};
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker)
    if (before.contains(worker) || job.holders.contains(worker)) send(worker, keep);
  VisitEnd end;
  end.trial = &trial;
  end.commit = std::move(done.commit);
  ends_.push_back(std::move(end));
}

void HoppingTrainer::expect_bytes(const Job& job, const Trained& done) {
  const PlacedVisit& visit = *job.visit;
  const TrialEntry& trial = *job.entry;
  const Bytes state = total_bytes(done.blobs);
  const bool goes_home = trial.status.visits_done + 1 == trial.visits_total() && !visit.is_at(0);
  if (visit.size() > 1) {
    // With a server at most so many: members fetch no parameters that they have.
    report_.exchange_bytes_expected +=
        (done.commit.steps - trial.steps) * step_bytes(visit.size(), summed_bytes(trial.setup)) +
        (visit.size() - 1) * served_bytes(trial.setup).moments;
  }
  if (visit.size() > 1 || parts_.trials_stay)
    report_.hop_bytes_expected +=
        state * std::max(goes_home ? 1u : 0u, std::max(parts_.state_replicas, visit.size()) - visit.size());
  else
    report_.hop_bytes_expected += state;
}

}  // namespace hopyard
