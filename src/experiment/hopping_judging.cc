// A trained state is judged where the validation rows are: its copies go to homes that have all partitions together,
// and each of them evaluates its own.
#include <algorithm>
#include <numeric>
#include <utility>

#include "base/failure.h"
#include "experiment/hopping_trainer.h"
#include "experiment/scoring.h"

namespace hopyard {

/// Those that have rows for it, ascending.
std::vector<std::uint32_t> HoppingTrainer::partitions_to_judge(const Job& job) const {
  if (!job.to_judge) return {};
  if (const auto& own = job.entry->setup.valid_partitions) return own->to_visit();
  std::vector<std::uint32_t> all(parts_.valid_placement.homes.size());
  std::iota(all.begin(), all.end(), 0u);
  return all;
}

bool HoppingTrainer::is_judged(const Job& job) const { return job.judged.size() == partitions_to_judge(job).size(); }

/// Workers to which the state has to go, beside those that have it or to which it is on its way: each time the living
/// home of the most partitions that nobody judges yet.
std::vector<std::uint32_t> HoppingTrainer::judges_missing(const Job& job) const {
  std::vector<std::uint32_t> missing, open;
  const auto& homes = parts_.valid_placement.homes;
  const auto comes = [&](std::uint32_t worker) {
    return alive(worker) &&
           (job.copies.contains(worker) || under_way_to(job.entry->status.spec.id, job.trained->commit.digest, worker));
  };
  for (const std::uint32_t p : partitions_to_judge(job))
    if (!job.judged.contains(p) && std::none_of(homes[p].begin(), homes[p].end(), comes)) open.push_back(p);
  while (true) {
    std::uint32_t best = 0;
    std::ptrdiff_t most = 0;
    for (std::uint32_t worker = 0; worker < members_.size(); ++worker) {
      const auto count = std::count_if(open.begin(), open.end(), [&](std::uint32_t p) {
        return alive(worker) && std::binary_search(homes[p].begin(), homes[p].end(), worker);
      });
      if (count > most) best = worker, most = count;
    }
    if (most == 0) return missing;  // those that are left have no living home
    missing.push_back(best);
    std::erase_if(open, [&](std::uint32_t p) { return std::binary_search(homes[p].begin(), homes[p].end(), best); });
  }
}

/// Partitions that nobody judges yet, each at the copy with the fewest of them.
void HoppingTrainer::order_judging(Job& job) {
  std::set<std::uint32_t> taken;
  for (const auto& [worker, judging] : job.judging) taken.insert(judging.partitions.begin(), judging.partitions.end());
  std::map<std::uint32_t, std::vector<std::uint32_t>> given;
  for (const std::uint32_t p : partitions_to_judge(job)) {
    if (job.judged.contains(p) || taken.contains(p)) continue;
    std::optional<std::uint32_t> least;
    for (const std::uint32_t home : parts_.valid_placement.homes[p])
      if (alive(home) && job.copies.contains(home) && !job.judging.contains(home) &&
          (!least || given[home].size() < given[*least].size()))
        least = home;
    if (least) given[*least].push_back(p);
  }
  const TrialEntry& trial = *job.entry;
  for (auto& [worker, partitions] : given) {
    if (partitions.empty()) continue;
    Train order;
    order.number = ++visits_ordered_;
    order.spec = trial.status.spec;
    order.settings = trial.status.settings;
    order.visits = trial.status.visits_done + 1;
    order.digest = job.trained->commit.digest;
    order.partition = job.visit->partition;
    order.judge_on = partitions;
    order.steps = job.trained->commit.steps;
    job.judging[worker] = {order.number, std::move(partitions)};
    send(worker, order);
  }
}

void HoppingTrainer::evaluated(std::uint32_t worker, Evaluated end) {
  const auto found = jobs_.find(end.trial);
  if (found == jobs_.end()) return;
  Job& job = found->second;
  const auto judging = job.judging.find(worker);
  if (judging == job.judging.end() || judging->second.order != end.number) return;  // of a visit that was given up
  std::vector<std::uint32_t> partitions;
  for (const auto& one : end.judged) partitions.push_back(one.partition);
  if (partitions != judging->second.partitions)
    fail(ExitCode::input, "worker ", worker, ": ", end.trial, " was judged on other rows than it was asked to");
  for (auto& one : end.judged) job.judged[one.partition] = std::move(one.judged);
  job.judging.erase(judging);
  get_on(job);
}

/// The worker does not have the state, after all. Whether the order was one of judging.
bool HoppingTrainer::lost_judging(std::uint32_t worker, const Missing& end) {
  const auto found = jobs_.find(end.trial);
  if (found == jobs_.end()) return false;
  Job& job = found->second;
  const auto judging = job.judging.find(worker);
  if (judging == job.judging.end() || judging->second.order != end.number) return false;
  parts_.event(text::cat("worker ", worker, ": has no such state of ", end.trial, " to judge"));
  job.judging.erase(judging);
  job.copies.erase(worker);
  if (worker == job.visit->worker)
    stop_visit(job);
  else
    get_on(job);
  return true;
}

/// Whose trained state is judged by that order; null when none is any more.
HoppingTrainer::Job* HoppingTrainer::judged_by(const std::string& trial, std::uint64_t order) {
  const auto found = jobs_.find(trial);
  if (found == jobs_.end()) return nullptr;
  const auto& judging = found->second.judging;
  return std::any_of(judging.begin(), judging.end(), [&](const auto& one) { return one.second.order == order; })
             ? &found->second
             : nullptr;
}

void HoppingTrainer::stop_judging(Job& job) {
  for (const auto& [worker, judging] : job.judging) send(worker, Abandon{job.entry->status.spec.id});
  job.judging.clear();
  job.judged.clear();
}

/// Nothing goes on but for want of a home of some validation rows.
bool HoppingTrainer::waits_for_validation(const Job& job) const {
  if (!job.trained || is_judged(job) || !job.judging.empty()) return false;
  const auto& id = job.entry->status.spec.id;
  if (std::any_of(flights_.begin(), flights_.end(), [&](const auto& flight) { return flight.second.trial == id; }))
    return false;
  const auto& homes = parts_.valid_placement.homes;
  for (const std::uint32_t p : partitions_to_judge(job))
    if (!job.judged.contains(p) &&
        std::none_of(homes[p].begin(), homes[p].end(), [&](std::uint32_t home) { return alive(home); }))
      return true;
  return false;
}

/// In the order of partitions, as one process adds them up.
void HoppingTrainer::add_score(Job& job, Trained& done) const {
  if (!job.to_judge) return;
  std::vector<JudgedPartition> parts;
  bool kept = true;  // what was said of each row; not where that was too much for a message
  for (auto& [partition, judged] : job.judged) {
    kept = kept && !judged.rows.losses.empty();
    parts.push_back({partition, std::move(judged)});
  }
  Judged all = add_up(parts);
  const auto& status = job.entry->status;
  done.commit.score = score_of(done.commit, Epochs::of_visits(status.visits_done + 1, status.visits_per_epoch),
                               all.sums, parts_.metric);
  if (kept) done.rows = std::move(all.rows);
}

}  // namespace hopyard
