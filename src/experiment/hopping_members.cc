// Workers come, say what they bring, and go.
#include <algorithm>
#include <tuple>
#include <utility>

#include "base/failure.h"
#include "experiment/hopping_trainer.h"

namespace hopyard {

namespace {

bool before(const HeldState& a, const HeldState& b) {
  return std::tie(a.trial, a.visits, a.digest) < std::tie(b.trial, b.visits, b.digest);
}

/// Among states in this order.
const HeldState* find_state(const std::vector<HeldState>& held, const std::string& trial, std::uint32_t visits,
                            const std::string& digest) {
  const HeldState wanted{trial, visits, digest, {}};
  const auto found = std::lower_bound(held.begin(), held.end(), wanted, before);
  return found == held.end() || before(wanted, *found) ? nullptr : &*found;
}

/// What another incarnation's device of that name did.
void add(std::vector<DeviceAccount>& devices, const DeviceAccount& more) {
  const auto known =
      std::find_if(devices.begin(), devices.end(), [&](const auto& one) { return one.name == more.name; });
  if (known == devices.end()) return devices.push_back(more);
  known->busy_s += more.busy_s;
  for (const auto& idle : more.idle) {
    const auto cause =
        std::find_if(known->idle.begin(), known->idle.end(), [&](const auto& one) { return one.cause == idle.cause; });
    if (cause == known->idle.end())
      known->idle.push_back(idle);
    else
      cause->seconds += idle.seconds;
  }
  known->tasks += more.tasks;
  known->recorded_steps += more.recorded_steps;
  known->memory_peak = std::max(known->memory_peak, more.memory_peak);
  known->loaded += more.loaded;
  known->stored += more.stored;
}

}  // namespace

void HoppingTrainer::heard(const CoordinatorEvent& event) {
  using Kind = CoordinatorEvent::Kind;
  const auto& worker = event.worker;
  switch (event.kind) {
    case Kind::message:
      try {
        const auto message = decode_to_coordinator(event.text, to_string(worker));
        if (const auto* hello = std::get_if<Hello>(&message)) return greeted(worker, *hello);
        if (worker.rank >= members_.size()) return;
        if (members_[worker.rank].id == worker) return heard(worker.rank, message);
        if (const auto* broken = std::get_if<Broken>(&message)) said_broken(worker.rank, *broken);  // before its Hello
      } catch (const Failure& nonsense) {
        if (nonsense.code() != ExitCode::input || home_broke_) throw;
        parts_.end.expel(worker, nonsense.what());
      }
      return;
    case Kind::dead:
      return lost(worker, event.text);
    case Kind::left:
      return lost(worker, event.text, true);
    case Kind::silent:
      return parts_.event(text::cat("worker ", worker.rank, ": is silent"));
    case Kind::awake:
      return parts_.event(text::cat("worker ", worker.rank, ": is heard again"));
    case Kind::refused:
      return parts_.event(text::cat("turned away who came as worker ", worker.rank, ": ", event.text));
    case Kind::joined:
      return;  // its Hello follows
  }
}

void HoppingTrainer::heard(std::uint32_t worker, const ToCoordinator& message) {
  if (const auto* part = std::get_if<TrainedPart>(&message)) return trained(worker, *part);
  if (const auto* end = std::get_if<Trained>(&message)) return trained(worker, *end);
  if (const auto* end = std::get_if<Evaluated>(&message)) return evaluated(worker, *end);
  if (const auto* end = std::get_if<Failed>(&message)) return failed(*end);
  if (const auto* end = std::get_if<Missing>(&message)) return missing(worker, *end);
  if (const auto* end = std::get_if<Parted>(&message)) return parted(worker, *end);
  if (const auto* end = std::get_if<HopEnd>(&message)) return ended(worker, *end);
  if (const auto* account = std::get_if<Account>(&message)) {
    members_[worker].accounted = true;
    return note(worker, *account);
  }
  if (const auto* progress = std::get_if<Progress>(&message)) {
    members_[worker].progress = *progress;
    return;
  }
  said_broken(worker, std::get<Broken>(message));
}

void HoppingTrainer::said_broken(std::uint32_t worker, const Broken& broken) {
  parts_.event(text::cat("worker ", worker, ": ", broken.sentence));
  if (worker == 0) {
    home_broke_ = true;
    fail(broken.code, "worker 0: ", broken.sentence);
  }
  members_[worker].broken = broken.sentence;
}

void HoppingTrainer::greeted(const WorkerId& worker, Hello hello) {
  if (worker.rank >= members_.size()) return parts_.end.expel(worker, "there is no such rank");
  if (finished_) {  // too late: nothing is left to do
    parts_.end.send(worker, encode(Finish{interrupted_}));
    return;
  }
  Member& member = members_[worker.rank];
  if (member.id) lost(*member.id, "it came again");
  member = {};
  member.known = true;
  member.id = worker;
  member.brings = std::move(hello.held);
  parts_.event(text::cat("worker ", worker.rank, ": is here, with ", member.brings->size(), " states"));
}

/// From here on a worker that said Hello counts, with those of its states that are committed.
void HoppingTrainer::settle_holdings() {
  bool came = false;
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker) {
    auto brings = std::exchange(members_[worker].brings, std::nullopt);
    if (!brings) continue;
    std::sort(brings->begin(), brings->end(), before);
    share_with_clones(worker, *brings);
    std::set<std::string> useful;
    for (std::size_t i = 0; i < trials_.size(); ++i) {
      const auto& trial = trials_[i];
      Job& job = *in_order_[i];
      job.copies.erase(worker);  // what is not committed is let go below
      auto holders = job.holders;
      holders.erase(worker);
      const HeldState* state = find_state(*brings, trial->status.spec.id, trial->status.visits_done, trial->digest);
      if (state != nullptr && (worker == 0 || !job.at_home)) {
        holders.insert(worker);
        if (job.blobs.empty()) job.blobs = state->blobs;
        useful.insert(trial->status.spec.id);
        send(worker, Keep{trial->status.spec.id, trial->status.visits_done});
      }
      set_holders(job, std::move(holders));
    }
    for (const auto& state : *brings)
      if (!useful.contains(state.trial)) send(worker, Keep{state.trial, 0});
    shop_.join(worker);
    came = true;
  }
  if (came)
    for (Job* const job : in_order_) get_on(*job);  // validation rows may have waited for it
  for (Job* const job : in_order_)
    if (job->entry->ended()) bring_home(*job);
}

/// A clone that is where it began may not have reached this worker, which then has its parent's equal state. What it is
/// to hold for the clone is added to what it brings.
void HoppingTrainer::share_with_clones(std::uint32_t worker, std::vector<HeldState>& brings) {
  for (const auto& trial : trials_) {
    const auto& spec = trial->status.spec;
    const std::uint32_t visits = trial->status.visits_done;
    if (!spec.lineage || visits == 0 || find_state(brings, spec.id, visits, trial->digest) != nullptr) continue;
    const HeldState* parent = find_state(brings, spec.lineage->parent, visits, trial->digest);
    if (parent == nullptr) continue;
    send(worker, Share{parent->trial, spec.id, visits});
    HeldState clone = *parent;
    clone.trial = spec.id;
    brings.insert(std::lower_bound(brings.begin(), brings.end(), clone, before), std::move(clone));
  }
}

void HoppingTrainer::lost(const WorkerId& worker, const std::string& why, bool left) {
  if (worker.rank >= members_.size()) return;
  Member& member = members_[worker.rank];
  if (member.id != worker) return;  // an earlier life
  member.id.reset();
  note_last(worker.rank);
  member.progress = {};
  cut_links_.forget(worker.rank);
  const bool counted = !std::exchange(member.brings, std::nullopt).has_value();
  if (!finished_) {
    parts_.event(text::cat("worker ", worker.rank, left ? ": has left" : ": is gone", why.empty() ? "" : ": ", why));
    HoppingReport::Worker& counts = report_.workers[worker.rank];
    ++(left ? counts.departures : counts.deaths);
  }
  if (counted)
    for (const auto& visit : shop_.leave(worker.rank)) call_back(*by_number_[visit.trial]);
  std::map<std::uint64_t, Flight> broken;
  std::erase_if(flights_, [&](const auto& flight) {
    const bool touched = flight.second.from == worker.rank || flight.second.to == worker.rank;
    if (touched) broken.insert(flight);
    return touched;
  });
  if (finished_) return;
  for (const auto& [number, flight] : broken)
    send(flight.from == worker.rank ? flight.to : flight.from, CallOff{number});
  for (const auto& [number, flight] : broken) torn(flight, text::cat("worker ", worker.rank, " is gone"));
  for (auto& [trial, job] : jobs_) job.judging.erase(worker.rank);
  for (auto& [trial, job] : jobs_) get_on(job);  // fewer live, so fewer copies are needed
}

void HoppingTrainer::note_last(std::uint32_t worker) {
  if (!std::exchange(members_[worker].accounted, true)) note(worker, members_[worker].progress.so_far);
}

void HoppingTrainer::note(std::uint32_t worker, const Account& account) {
  Account& sum = report_.workers[worker].account;
  sum.rows_read += account.rows_read;
  sum.bytes_read += account.bytes_read;
  sum.rows_judged += account.rows_judged;
  sum.here_s += account.here_s;
  sum.busy_s += account.busy_s;
  sum.hop_s += account.hop_s;
  sum.waited_s += account.waited_s;
  sum.stored = std::max(sum.stored, account.stored);
  sum.sent += account.sent;
  sum.exchanged += account.exchanged;
  for (const DeviceAccount& device : account.devices) add(sum.devices, device);
}

}  // namespace hopyard
