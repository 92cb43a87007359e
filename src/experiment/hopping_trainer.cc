#include "experiment/hopping_trainer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/clock.h"
#include "base/failure.h"

namespace hopyard {

namespace {

constexpr double kLookSeconds = 0.02;     // while it finishes
constexpr double kHomeSeconds = 60;       // for states of ended trials to come home
constexpr double kFarewellSeconds = 5;    // for workers to leave
constexpr double kTeamsWaitSeconds = 20;  // from the start, for workers that have not come yet

/// "worker 1" or "workers 1, 2".
std::string workers_named(const std::set<std::uint32_t>& workers) {
  std::vector<std::string> names;
  for (const std::uint32_t worker : workers) names.push_back(std::to_string(worker));
  return (names.size() == 1 ? "worker " : "workers ") + text::join(names, ", ");
}

std::vector<ShopWorker> absent(std::vector<ShopWorker> workers) {
  for (auto& worker : workers) worker.alive = false;
  return workers;
}

}  // namespace

HoppingTrainer::HoppingTrainer(HoppingParts parts)
    : parts_(std::move(parts)),
      shop_(parts_.placement, absent(parts_.workers)),
      members_(parts_.workers.size()),
      begun_s_(monotonic_seconds()) {
  require(!members_.empty() && parts_.state_replicas > 0, "no worker, or no replica of a state");
  report_.workers.resize(members_.size());
}

HoppingTrainer::~HoppingTrainer() {
  if (!finished_) send_all(Finish{true});
}

HoppingTrainer::Job& HoppingTrainer::job_of(TrialEntry& trial) {
  Job& job = jobs_[trial.status.spec.id];
  job.entry = &trial;
  return job;
}

/// The loop's trials are only ever added to.
const std::vector<HoppingTrainer::Job*>& HoppingTrainer::jobs_of(TrialEntries trials) {
  for (std::size_t i = in_order_.size(); i < trials.size(); ++i) in_order_.push_back(&job_of(*trials[i]));
  return in_order_;
}

std::uint32_t HoppingTrainer::living() const {
  std::uint32_t count = 0;
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker) count += alive(worker);
  return count;
}

void HoppingTrainer::send(std::uint32_t worker, const ToWorker& message) {
  if (!members_[worker].id) return;
  const WorkerId id = *members_[worker].id;  // one that is gone is heard of as dead
  if (parts_.end.send(id, encode(message)) == SendStatus::full) parts_.end.expel(id, "it takes no messages");
}

void HoppingTrainer::send_all(const ToWorker& message) {
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker) send(worker, message);
}

void HoppingTrainer::start_visits(TrialEntries trials, bool paused) {
  trials_ = trials;
  const std::vector<Job*>& jobs = jobs_of(trials);
  settle_holdings();
  const bool all_known = std::all_of(members_.begin(), members_.end(), [](const auto& member) { return member.known; });
  shop_.let_alone(all_known ||
                  monotonic_seconds() - begun_s_ > std::min(kTeamsWaitSeconds, parts_.wait_for_worker_s / 2));
  for (Job* const job : jobs)
    if (!job->entry->ended()) sync(*job, paused);
  for (const auto& visit : dispatch(shop_, parts_.scheduler)) begin(visit);
  check_waiting(trials, paused);
}

/// What the shop knows of a trial is what the loop knows.
void HoppingTrainer::sync(Job& job, bool paused) {
  const TrialEntry& trial = *job.entry;
  const std::uint32_t per_epoch = trial.status.visits_per_epoch, done = trial.status.visits_done;
  const std::uint32_t epochs = (trial.visits_wanted + per_epoch - 1) / per_epoch;
  job.at_home = false;  // it may have been resumed
  if (!job.number) {
    if (!trial.wanted() || trial.waits_for_parent()) return;
    const double steps = static_cast<double>(trial.setup.total_steps) / trial.visits_total();
    ShopTrial comes;
    comes.epochs = epochs;
    comes.rotation = trial.setup.rotation;
    if (trial.setup.partitions && trial.setup.partitions->to_visit().size() < shop_.partitions())
      comes.own = trial.setup.partitions->to_visit();
    comes.listed = trial.setup.listed_visits;
    const DataParallelSpec& team = trial.setup.train.data_parallel;
    comes.degree = team.degree;
    comes.may_be_alone = team.is_exact();
    comes.visit_s = std::max(trial.setup.plan.compute_s * steps / team.degree, 1e-6);
    comes.epoch = done / per_epoch;
    comes.visited = trial.visited;
    comes.holders.assign(job.holders.begin(), job.holders.end());
    job.number = shop_.add(comes);
    by_number_.push_back(&job);
  }
  shop_.want(*job.number, epochs);
  shop_.hold(*job.number, paused || !trial.has_work() || (done > 0 && job.holders.empty()));
}

void HoppingTrainer::begin(const PlacedVisit& visit) {
  Job& job = *by_number_[visit.trial];
  TrialEntry& trial = *job.entry;
  trial.under_way = true;
  if (trial.status.state == TrialState::waiting) trial.status.state = TrialState::active;
  job.visit = visit;
  job.failed_hops = 0;
  job.asked = false;
  job.order = ++visits_ordered_;
  get_on(job);
}

/// Orders the visit under way of its workers. Members of a team are told when all have the state, so that they meet.
void HoppingTrainer::ask(Job& job) {
  const TrialEntry& trial = *job.entry;
  const auto members = job.visit->members();
  job.asked = true;
  Train order;
  order.number = job.order;
  order.spec = trial.status.spec;
  order.settings = trial.status.settings;
  order.visits = trial.status.visits_done;
  order.digest = trial.digest;
  order.partition = job.visit->partition;
  job.to_judge = judges_by_hops() && trial.next_is_judged();
  order.steps = trial.steps;
  order.loss_sum = trial.loss_sum;
  order.loss_items = trial.loss_items;
  const DataParallelSpec& parallel = trial.setup.train.data_parallel;
  if (members.size() > 1) order.team = Team{++links_ordered_, {}, 0, parallel.sum};
  for (const std::uint32_t member : members)
    if (order.team) order.team->members.push_back(*members_[member].id);
  for (std::uint32_t i = 0; i < members.size(); ++i) {
    order.evaluate = i == 0 && trial.next_is_judged() && !job.to_judge;
    if (order.team) order.team->member = i;
    send(members[i], order);
  }
}

/// Nothing more is to come of the visit under way at those who train it.
void HoppingTrainer::call_back(Job& job) {
  if (!job.visit) return;
  for (const std::uint32_t member : job.visit->members()) send(member, Abandon{job.entry->status.spec.id});
  stop_visit(job);
}

/// The visit under way is none any more; its workers are told by whoever wants that.
void HoppingTrainer::stop_visit(Job& job) {
  if (job.visit && shop_.trial(*job.number).under_way == job.visit) shop_.give_up(*job.visit);
  stop_judging(job);
  job.visit.reset();
  job.said.clear();
  job.parts.clear();
  job.trained.reset();
  job.copies.clear();
  job.entry->under_way = job.entry->committing = false;
}

void HoppingTrainer::abandon(TrialEntry& trial) { call_back(job_of(trial)); }

void HoppingTrainer::share(const TrialEntry& parent, const TrialEntry& clone) {
  const std::string& from = parent.status.spec.id;
  Job& begins = jobs_[clone.status.spec.id];
  begins.blobs = jobs_[from].blobs;
  // Those that are away are asked when they come, see settle_holdings().
  for (const std::uint32_t holder : jobs_[from].holders) {
    if (!alive(holder)) continue;
    send(holder, Share{from, clone.status.spec.id, parent.status.visits_done});
    begins.holders.insert(holder);
  }
}

void HoppingTrainer::let_go(const TrialEntry& trial) {
  Job& job = jobs_[trial.status.spec.id];
  if (job.entry == nullptr) return;
  if (job.number) shop_.hold(*job.number, true);
  if (trial.ended()) bring_home(job);
}

std::vector<VisitEnd> HoppingTrainer::wait(double timeout_s) {
  double patience = ends_.empty() ? timeout_s : 0;
  while (auto event = parts_.end.next(patience)) {
    heard(*event);
    patience = 0;
  }
  return std::exchange(ends_, {});
}

/// Nothing is under way, and something is wanted: that may not last.
void HoppingTrainer::check_waiting(TrialEntries trials, bool paused) {
  const bool busy = std::any_of(jobs_.begin(), jobs_.end(), [this](const auto& job) {
    return job.second.visit && !waits_for_validation(job.second);
  });
  const bool wants = std::any_of(trials.begin(), trials.end(), [](const auto& trial) { return trial->has_work(); });
  if (paused || busy || !wants) return waiting_since_s_.reset();
  if (!waiting_since_s_) waiting_since_s_ = monotonic_seconds();
  if (monotonic_seconds() - *waiting_since_s_ <= parts_.wait_for_worker_s) return;
  std::string broken;
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker)
    if (!members_[worker].broken.empty()) broken += text::cat("; worker ", worker, " said: ", members_[worker].broken);
  fail(ExitCode::interrupted, what_is_missing(trials), ", and nobody came for ", parts_.wait_for_worker_s,
       " s (workers.wait_for_worker)", broken, "; what is committed stays: start the workers again");
}

/// Of a team that has to be whole; empty where it can be.
std::string HoppingTrainer::what_its_team_misses(const Job& job) const {
  const DataParallelSpec& team = job.entry->setup.train.data_parallel;
  if (team.is_exact()) return "";
  const std::string team_of =
      text::cat(job.entry->status.spec.id, " trains on ", team.degree, " workers together, and ");
  if (living() < team.degree) return text::cat(team_of, living(), living() == 1 ? " lives" : " live");
  if (!job.number || shop_.trial(*job.number).done()) return "";
  const OpenTrial& open = shop_.trial(*job.number);
  const std::uint32_t next = open.next_in_order();
  std::optional<std::uint32_t> short_of;
  const auto look_at = [&](std::uint32_t partition) {
    if (!short_of && shop_.team_size(*job.number, partition) == 0) short_of = partition;
  };
  if (open.to_visit.test(next))
    look_at(next);
  else  // under `order: free` the team has been there
    open.to_visit.for_each(look_at);
  if (!short_of) return "";
  std::set<std::uint32_t> gone;
  for (const std::uint32_t home : shop_.homes(*short_of))
    if (!alive(home)) gone.insert(home);
  return text::cat(team_of, "too few homes of partition ", *short_of, " live without ", workers_named(gone));
}

std::string HoppingTrainer::what_is_missing(TrialEntries trials) const {
  const std::string homeless = describe_homeless(parts_.placement, shop_.living());
  if (!homeless.empty()) return homeless;
  const bool judging = std::any_of(jobs_.begin(), jobs_.end(), [this](const auto& job) {
    return job.second.visit && waits_for_validation(job.second);
  });
  if (judging) return "of the validation rows, " + describe_homeless(parts_.valid_placement, shop_.living());
  for (const auto& trial : trials) {
    if (!trial->has_work()) continue;
    const Job& job = jobs_.at(trial->status.spec.id);
    if (std::string team = what_its_team_misses(job); !team.empty()) return team;
    const auto& holders = job.holders;
    if (trial->status.visits_done == 0 ||
        std::any_of(holders.begin(), holders.end(), [&](std::uint32_t holder) { return alive(holder); }))
      continue;
    return text::cat("no living worker holds the state of ", trial->status.spec.id, " after ",
                     trial->status.visits_done, " visits",
                     holders.empty() ? "" : text::cat(": it is with ", workers_named(holders)));
  }
  return "no worker has a place for what is wanted";
}

void HoppingTrainer::finish() {
  finishing_ = true;
  for (auto& [trial, job] : jobs_) call_back(job);  // of an experiment that is interrupted: nobody would hear of it
  const auto look_until = [&](double seconds, const auto& done) {
    const double until = monotonic_seconds() + seconds;
    while (!done() && monotonic_seconds() < until)
      if (auto event = parts_.end.next(kLookSeconds)) heard(*event);
  };
  const auto is_home = [](const auto& job) {
    const TrialEntry* entry = job.second.entry;
    return entry == nullptr || !entry->ended() || job.second.at_home;
  };
  look_until(kHomeSeconds, [&] {
    settle_holdings();  // a worker that has come back may have what is to come home, or be where it is to come
    return flights_.empty() && std::all_of(jobs_.begin(), jobs_.end(), is_home);
  });
  for (const auto& job : jobs_)
    if (!is_home(job))
      parts_.event(text::cat(job.first, ": its last state has not come to worker 0: who has it is away"));
  interrupted_ = std::any_of(jobs_.begin(), jobs_.end(),
                             [](const auto& job) { return job.second.entry != nullptr && !job.second.entry->ended(); });
  send_all(Finish{interrupted_});
  finished_ = true;
  look_until(kFarewellSeconds, [&] {
    return std::none_of(members_.begin(), members_.end(), [](const auto& member) { return member.id.has_value(); });
  });
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker)
    if (members_[worker].id) note_last(worker);
}

std::vector<ActiveReport> HoppingTrainer::active() const {
  std::vector<ActiveReport> all;
  for (std::uint32_t worker = 0; worker < members_.size(); ++worker)
    for (const auto& visit : members_[worker].progress.visits) {
      const auto job = jobs_.find(visit.trial);
      if (job == jobs_.end() || !job->second.visit || job->second.visit->worker != worker) continue;
      all.push_back({job->second.entry->setup.number, visit.fraction, visit.loss, 0});
    }
  return all;
}

Bytes HoppingTrainer::disk_room() const { return std::numeric_limits<Bytes>::max(); }  // each worker's own affair

}  // namespace hopyard
