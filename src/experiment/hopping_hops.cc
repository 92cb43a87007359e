// States on their way between workers.
#include <algorithm>
#include <tuple>

#include "base/clock.h"
#include "base/failure.h"
#include "experiment/hopping_trainer.h"
#include "experiment/state_hops.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kHopTries = 3;      // of a visit's state; then one of both ends has to leave
constexpr std::uint32_t kNowhereTries = 5;  // for as long as workers are waited for; then the run ends
constexpr double kLongestTrySeconds = 300;  // of a hop that fails: opening, turns and a stall

}  // namespace

bool HoppingTrainer::under_way_to(const std::string& trial, const std::string& digest, std::uint32_t worker) const {
  return std::any_of(flights_.begin(), flights_.end(), [&](const auto& flight) {
    return flight.second.trial == trial && flight.second.digest == digest && flight.second.to == worker;
  });
}

/// As many hops are ordered of it as it begins at a time: others wait for their turn.
bool HoppingTrainer::is_crowded(std::uint32_t worker) const {
  const auto count = std::count_if(flights_.begin(), flights_.end(), [&](const auto& flight) {
    return flight.second.from == worker || flight.second.to == worker;
  });
  return static_cast<std::size_t>(count) >= kHopsBegun;
}

/// Of the trained state: those that are there, and those on their way.
std::size_t HoppingTrainer::copies_coming(const Job& job) const {
  std::size_t coming = job.copies.size();
  for (const auto& [number, flight] : flights_)
    coming += flight.trial == job.entry->status.spec.id && flight.digest == job.trained->commit.digest &&
              !job.copies.contains(flight.to);
  return coming;
}

/// One of those that have a state, that reaches the worker: best over a link that did not fail last, then `first`, then
/// the one with the least to do.
std::optional<std::uint32_t> HoppingTrainer::sender_to(std::uint32_t worker, const std::set<std::uint32_t>& have,
                                                       std::optional<std::uint32_t> first) const {
  std::optional<std::uint32_t> best;
  for (const std::uint32_t one : have) {
    const auto cost = [&](std::uint32_t sender) {
      return std::tuple(cut_links_.doubted(sender, worker), sender != first, shop_.occupied(sender));
    };
    if (!alive(one) || cut_links_.cut(one, worker, monotonic_seconds())) continue;
    if (!best || cost(one) < cost(*best)) best = one;
  }
  return best;
}

/// The hop that the trial's newest state needs so that it comes to the worker from those that have it: straight, or by
/// way of a third that reaches both; where there is no way, straight all the same. None while it is there, on its way,
/// or with nobody who lives.
std::optional<HoppingTrainer::Way> HoppingTrainer::way_to(const Job& job, std::uint32_t worker,
                                                          const std::set<std::uint32_t>& have,
                                                          std::optional<std::uint32_t> first) const {
  const std::string& id = job.entry->status.spec.id;
  const std::string& digest = job.trained ? job.trained->commit.digest : job.entry->digest;
  if (have.contains(worker) || under_way_to(id, digest, worker)) return std::nullopt;
  if (const auto from = sender_to(worker, have, first)) return Way{*from, worker};
  for (std::uint32_t third = 0; third < members_.size(); ++third) {
    if (third == worker || !alive(third) || cut_links_.cut(third, worker, monotonic_seconds())) continue;
    if (under_way_to(id, digest, third)) return std::nullopt;
    if (const auto from = sender_to(third, have, first)) return Way{*from, third};
  }
  const auto from = std::find_if(have.begin(), have.end(), [this](std::uint32_t one) { return alive(one); });
  return from == have.end() ? std::nullopt : std::optional(Way{*from, worker});
}

/// The flight's link counts as cut, and there is another way for its state.
bool HoppingTrainer::goes_around(const Job& job, const Flight& flight) const {
  if (!cut_links_.cut(flight.from, flight.to, monotonic_seconds())) return false;
  const auto way = way_to(job, flight.to, job.trained ? job.copies : job.holders, flight.from);
  return !way || way->from != flight.from || way->to != flight.to;
}

/// A run whose trial fails to get on again and again for so long ends resumably instead of trying for ever. After more
/// than kLongestTrySeconds without a failure it got on meanwhile, and is counted anew.
void HoppingTrainer::gets_nowhere(Job& job, const std::string& why) {
  if (job.entry->ended() || finishing_) return;
  const double now_s = monotonic_seconds();
  Nowhere& nowhere = job.nowhere;
  if (nowhere.times == 0 || now_s - nowhere.last_s > kLongestTrySeconds) nowhere = {0, now_s, now_s};
  ++nowhere.times;
  nowhere.last_s = now_s;
  if (nowhere.times < kNowhereTries || now_s - nowhere.since_s <= parts_.wait_for_worker_s) return;
  fail(ExitCode::interrupted, job.entry->status.spec.id, " has got nowhere for ", parts_.wait_for_worker_s,
       " s (workers.wait_for_worker): ", why,
       "; let the workers reach each other on all ports, and start them again: what is committed stays");
}

void HoppingTrainer::order_hop(Job& job, std::uint32_t from, std::uint32_t to, std::uint32_t visits,
                               const std::vector<HeldBlob>& blobs, bool leaves) {
  const TrialEntry& trial = *job.entry;
  Hop hop;
  hop.number = ++links_ordered_;
  hop.trial = trial.status.spec.id;
  hop.visits = visits;
  hop.digest = visits == trial.status.visits_done ? trial.digest : job.trained->commit.digest;
  hop.blobs = blobs;
  flights_[hop.number] = {hop.trial, from, to, hop.digest, total_bytes(blobs), {}, {}};
  hop.peer = *members_[to].id;
  hop.send = true;
  hop.leaves = leaves;
  send(from, hop);
  hop.peer = *members_[from].id;
  hop.send = hop.leaves = false;
  send(to, hop);
}

/// The state that the visit begins at goes to those of its workers that have none. False when nobody who lives has it.
bool HoppingTrainer::order_starts(Job& job) {
  const TrialEntry& trial = *job.entry;
  if (trial.status.visits_done == 0) return true;
  for (const std::uint32_t worker : job.visit->members()) {
    if (job.holders.contains(worker) || under_way_to(trial.status.spec.id, trial.digest, worker)) continue;
    if (!shop_.source(*job.number)) return false;
    if (const auto way = way_to(job, worker, job.holders))
      order_hop(job, way->from, way->to, trial.status.visits_done, job.blobs);
  }
  return true;
}

/// All of the visit's workers have the state that it begins at.
bool HoppingTrainer::all_can_start(const Job& job) const {
  if (job.entry->status.visits_done == 0) return true;
  const auto members = job.visit->members();
  return std::all_of(members.begin(), members.end(),
                     [&](std::uint32_t member) { return job.holders.contains(member); });
}

void HoppingTrainer::ended(std::uint32_t worker, const HopEnd& end) {
  const auto found = flights_.find(end.number);
  if (found == flights_.end() || worker != (end.sent ? found->second.from : found->second.to)) return;
  Flight& flight = found->second;
  (end.sent ? flight.sent : flight.received) = end;
  if (end.error.empty() && !(flight.sent && flight.received)) return;
  const Flight over = flight;
  flights_.erase(found);
  if (!end.error.empty()) {
    const bool by_itself = !is_crowded(over.from) && !is_crowded(over.to);  // otherwise they may have been late
    if (end.no_link && by_itself && cut_links_.failed(over.from, over.to, monotonic_seconds()))
      parts_.event(text::cat("workers ", std::min(over.from, over.to), " and ", std::max(over.from, over.to),
                             " do not reach each other: states go by way of others, where others reach both"));
    return torn(over, end.error);
  }
  cut_links_.worked(over.from, over.to);
  if (over.sent->digest == over.received->digest) return arrived(over);
  // Whoever received it has it in the book; nobody may begin there.
  Job& job = jobs_[over.trial];
  if (job.visit && !job.trained && job.visit->is_at(over.to)) call_back(job);
  send(over.to, Keep{over.trial, over.digest == job.entry->digest ? 0 : job.entry->status.visits_done});
  torn(over, "other bytes arrived than were sent");
}

void HoppingTrainer::arrived(const Flight& flight) {
  ++report_.hops;
  report_.hop_bytes += flight.bytes;
  Job& job = jobs_[flight.trial];
  job.nowhere = {};
  if (job.trained && flight.digest == job.trained->commit.digest) {
    job.copies.insert(flight.to);
    return get_on(job);
  }
  if (flight.digest != job.entry->digest) {  // of a visit that was given up, or that has been followed by others
    // Who trains that visit again puts its own state in the place of this one, and may have done so.
    if (job.visit && job.visit->is_at(flight.to)) return;
    return send(flight.to, Keep{flight.trial, job.entry->status.visits_done});
  }
  if (job.at_home) {
    if (flight.to != 0) send(flight.to, Keep{flight.trial, 0});
    return;
  }
  auto holders = job.holders;
  holders.insert(flight.to);
  set_holders(job, std::move(holders));
  if (job.entry->ended()) return bring_home(job);
  get_on(job);
}

void HoppingTrainer::torn(const Flight& flight, const std::string& why) {
  ++report_.failed_hops;
  parts_.event(
      text::cat(flight.trial, ": its way from worker ", flight.from, " to worker ", flight.to, " failed: ", why));
  Job& job = jobs_[flight.trial];
  const bool of_now = flight.digest == (job.trained ? job.trained->commit.digest : job.entry->digest);
  if (!of_now || finished_) return;
  const bool both_live = alive(flight.from) && alive(flight.to);
  if (both_live)
    gets_nowhere(job, text::cat("its way from worker ", flight.from, " to worker ", flight.to, " fails: ", why));
  if (both_live && !goes_around(job, flight) && ++job.failed_hops >= kHopTries) return give_up_on(flight, why);
  if (job.entry->ended()) return bring_home(job);
  get_on(job);
}

/// One of both ends does not get on: without it others do, and it may come again. That is the one that says so. Who
/// sends and says that the link broke may have met an end that broke it: then it is the one that is to get the state.
void HoppingTrainer::give_up_on(const Flight& flight, const std::string& why) {
  jobs_[flight.trial].failed_hops = 0;
  const bool sender = flight.sent && !flight.sent->error.empty() && !flight.sent->link_broke;
  const std::uint32_t worker = sender ? flight.from : flight.to;
  if (alive(worker)) parts_.end.expel(*members_[worker].id, text::cat("states do not get through: ", why));
}

/// An ended trial's state is needed at rank 0 alone.
void HoppingTrainer::bring_home(Job& job) {
  if (job.at_home) return;
  const TrialEntry& trial = *job.entry;
  const std::string& id = trial.status.spec.id;
  const bool needed = trial.status.visits_done > 0;
  if (needed && !job.holders.contains(0)) {
    if (!alive(0) || is_crowded(0)) return;  // start_visits() asks again
    if (const auto way = way_to(job, 0, job.holders))
      order_hop(job, way->from, way->to, trial.status.visits_done, job.blobs);
    return;
  }
  job.at_home = true;
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker)
    if (worker != 0 || !needed) send(worker, Keep{id, 0});
  set_holders(job, needed ? std::set<std::uint32_t>{0} : std::set<std::uint32_t>());
}

}  // namespace hopyard
