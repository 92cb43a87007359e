// From a trained visit to its commit: copies of the state, and hops.
#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "experiment/hopping_trainer.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kHopTries = 3;  // in a visit; then it begins elsewhere

Bytes total_bytes(const std::vector<HeldBlob>& blobs) {
  Bytes sum = 0;
  for (const auto& blob : blobs) sum += blob.bytes;
  return sum;
}

}  // namespace

void HoppingTrainer::trained(std::uint32_t worker, Trained end) {
  const auto found = jobs_.find(end.commit.trial);
  if (found == jobs_.end()) return;
  Job& job = found->second;
  const auto& visit = job.visit;
  if (!visit || job.trained || visit->worker != worker || visit->epoch != end.commit.epoch ||
      visit->visit != end.commit.visit || visit->partition != end.commit.partition)
    return;  // was given up
  shop_.trained(*visit);
  ++report_.workers[worker].visits;
  job.entry->committing = true;
  job.trained = std::move(end);
  job.copies = {worker};
  get_on(job);
}

void HoppingTrainer::failed(std::uint32_t worker, const Failed& end) {
  const auto found = jobs_.find(end.trial);
  if (found == jobs_.end()) return;
  Job& job = found->second;
  if (!job.visit || job.visit->worker != worker || job.entry->status.visits_done != end.visits) return;  // was given up
  stop_visit(job);
  VisitEnd failure;
  failure.trial = job.entry;
  failure.failure = end.sentence;
  failure.did_not_fit = end.did_not_fit;
  ends_.push_back(std::move(failure));
}

/// A trained visit is committed when enough workers hold its state; those that are still to get it are told.
void HoppingTrainer::get_on(Job& job) {
  if (!job.trained) return;
  const TrialEntry& trial = *job.entry;
  const std::uint32_t visits = trial.status.visits_done + 1;
  const std::uint32_t enough = std::min(parts_.state_replicas, living());
  const bool goes_home = visits == trial.visits_total() && alive(0);
  std::vector<std::uint32_t> targets = replica_targets(shop_, parts_.scheduler, *job.visit, enough);
  if (goes_home) targets.insert(targets.begin(), 0);
  std::size_t coming = job.copies.size();
  for (const std::uint32_t target : targets) {
    if (job.copies.contains(target)) continue;
    if (coming >= enough && !(goes_home && target == 0)) break;
    if (!under_way_to(trial.status.spec.id, visits, target))
      order_hop(job, job.visit->worker, target, visits, job.trained->blobs);
    ++coming;
  }
  if (job.copies.size() >= enough && (!goes_home || job.copies.contains(0))) commit(job);
}

void HoppingTrainer::commit(Job& job) {
  Trained done = *std::exchange(job.trained, std::nullopt);
  TrialEntry& trial = *job.entry;
  if (done.commit.score && done.rows && parts_.keep_outcomes) parts_.keep_outcomes(*done.commit.score, *done.rows);
  journal_->commit(done.commit, done.curve);
  shop_.commit(*job.visit, {job.copies.begin(), job.copies.end()});
  const std::set<std::uint32_t> before = std::exchange(job.holders, std::exchange(job.copies, {}));
  job.blobs = std::move(done.blobs);
  job.visit.reset();
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

bool HoppingTrainer::under_way_to(const std::string& trial, std::uint32_t visits, std::uint32_t worker) const {
  return std::any_of(flights_.begin(), flights_.end(), [&](const auto& flight) {
    return flight.second.trial == trial && flight.second.visits == visits && flight.second.to == worker;
  });
}

void HoppingTrainer::order_hop(Job& job, std::uint32_t from, std::uint32_t to, std::uint32_t visits,
                               const std::vector<HeldBlob>& blobs) {
  const TrialEntry& trial = *job.entry;
  Hop hop;
  hop.number = ++hops_ordered_;
  hop.trial = trial.status.spec.id;
  hop.visits = visits;
  hop.digest = visits == trial.status.visits_done ? trial.digest : job.trained->commit.digest;
  hop.blobs = blobs;
  flights_[hop.number] = {hop.trial, from, to, visits, total_bytes(blobs), {}, {}};
  hop.peer = *members_[to].id;
  hop.send = true;
  send(from, hop);
  hop.peer = *members_[from].id;
  hop.send = false;
  send(to, hop);
}

/// The state that the visit begins at goes to its worker. False when nobody who lives has it.
bool HoppingTrainer::order_start(Job& job) {
  const auto from = shop_.source(*job.number);
  if (!from) return false;
  const std::uint32_t visits = job.entry->status.visits_done;
  if (!under_way_to(job.entry->status.spec.id, visits, job.visit->worker))
    order_hop(job, *from, job.visit->worker, visits, job.blobs);
  return true;
}

void HoppingTrainer::ended(std::uint32_t worker, const HopEnd& end) {
  const auto found = flights_.find(end.number);
  if (found == flights_.end() || worker != (end.sent ? found->second.from : found->second.to)) return;
  Flight& flight = found->second;
  (end.sent ? flight.sent : flight.received) = end;
  std::string why = end.error;
  if (why.empty()) {
    if (!flight.sent || !flight.received) return;
    if (flight.sent->digest != flight.received->digest) {
      why = "other bytes arrived than were sent";
      const std::uint32_t done = jobs_[flight.trial].entry->status.visits_done;
      send(flight.to, Keep{flight.trial, flight.visits == done ? 0 : done});
    }
  }
  const Flight over = flight;
  flights_.erase(found);
  why.empty() ? arrived(over) : torn(over, why);
}

void HoppingTrainer::arrived(const Flight& flight) {
  ++report_.hops;
  report_.hop_bytes += flight.bytes;
  Job& job = jobs_[flight.trial];
  const std::uint32_t done = job.entry->status.visits_done;
  if (flight.visits == done + 1 && job.trained && job.visit->worker == flight.from) {
    job.copies.insert(flight.to);
    return get_on(job);
  }
  if (flight.visits != done) return;  // of a visit that was given up; what is trained in its place takes its place
  job.holders.insert(flight.to);
  if (job.number) shop_.held_by(*job.number, {job.holders.begin(), job.holders.end()});
  if (job.entry->ended()) bring_home(job);
}

void HoppingTrainer::torn(const Flight& flight, const std::string& why) {
  ++report_.failed_hops;
  parts_.event(
      text::cat(flight.trial, ": its way from worker ", flight.from, " to worker ", flight.to, " failed: ", why));
  Job& job = jobs_[flight.trial];
  ++job.failed_hops;
  if (job.entry->ended()) return job.failed_hops < kHopTries ? bring_home(job) : void();
  if (job.trained) {
    if (job.failed_hops < kHopTries) return get_on(job);
  } else if (!job.visit || flight.visits != job.entry->status.visits_done || flight.to != job.visit->worker) {
    return;
  } else if (job.failed_hops < kHopTries && order_start(job)) {
    return;
  }
  abandon(*job.entry);
}

/// An ended trial's state is needed at rank 0 alone: that of a failed one nowhere.
void HoppingTrainer::bring_home(Job& job) {
  if (job.at_home) return;
  const TrialEntry& trial = *job.entry;
  const std::string& id = trial.status.spec.id;
  const bool needed = trial.status.state != TrialState::failed && trial.status.visits_done > 0;
  if (needed && !job.holders.contains(0)) {
    const auto from = std::find_if(job.holders.begin(), job.holders.end(), [&](auto holder) { return alive(holder); });
    if (from == job.holders.end() || !alive(0) || under_way_to(id, trial.status.visits_done, 0)) return;
    return order_hop(job, *from, 0, trial.status.visits_done, job.blobs);
  }
  job.at_home = true;
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker)
    if (worker != 0 || !needed) send(worker, Keep{id, 0});
}

}  // namespace hopyard
