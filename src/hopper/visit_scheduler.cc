#include "hopper/visit_scheduler.h"

#include <algorithm>

#include "base/failure.h"
#include "base/rng.h"
#include "hopper/greedy_visits.h"

namespace hopyard {

namespace {

/// How far a partition is from where the trial's rotation stands, 0 … 1.
double off_rotation(const OpenShop& shop, const PlacedVisit& visit) {
  const std::uint32_t count = shop.partitions();
  const std::uint32_t next = shop.trial(visit.trial).next_in_order();
  return static_cast<double>((visit.partition + count - next) % count) / count;
}

/// A visit of the trial to the partition, on its home with such a place that has the least to do.
std::optional<PlacedVisit> at_open_home(const OpenShop& shop, std::uint32_t number, std::uint32_t partition,
                                        Place place) {
  const OpenTrial& trial = shop.trial(number);
  const auto home = shortest_queue(shop, partition, [&](std::uint32_t worker) { return shop.open(worker, place); });
  if (!home) return std::nullopt;
  return PlacedVisit{number, trial.epoch, trial.visit, partition, *home};
}

GreedyVisits::Preference behind_then_longest(const OpenShop& shop, const PlacedVisit& visit) {
  const OpenTrial& trial = shop.trial(visit.trial);
  return {-(static_cast<double>(trial.epoch) * trial.visits_per_epoch() + trial.visit), trial.remaining_s()};
}

class SeedVisits : public GreedyVisits {
 public:
  std::optional<PlacedVisit> for_trial(const OpenShop& shop, std::uint32_t number, Place place) const override {
    if (!shop.idle().test(number)) return std::nullopt;
    return at_open_home(shop, number, shop.trial(number).next_in_order(), place);
  }

 protected:
  const Bits& candidates(const OpenShop& shop, std::uint32_t partition) const override {
    return shop.in_order(partition);
  }
  bool allows(const OpenShop&, std::uint32_t, const OpenTrial& trial, std::uint32_t partition,
              std::uint32_t) const override {
    return partition == trial.next_in_order();
  }
  Preference of_trial(const OpenShop& shop, const PlacedVisit& visit) const override {
    return behind_then_longest(shop, visit);
  }
};

/// SeedVisits first: only a worker or a trial that finds nothing in order asks who has lost patience.
class PatientVisits : public GreedyVisits {
 public:
  std::optional<PlacedVisit> for_worker(const OpenShop& shop, std::uint32_t worker, Place place) const override {
    if (const auto visit = in_order_.for_worker(shop, worker, place)) return visit;
    return GreedyVisits::for_worker(shop, worker, place);
  }
  std::optional<PlacedVisit> for_trial(const OpenShop& shop, std::uint32_t number, Place place) const override {
    if (!shop.idle().test(number)) return std::nullopt;
    const OpenTrial& trial = shop.trial(number);
    const std::uint32_t next = trial.next_in_order();
    if (trial.to_visit.test(next))
      if (const auto visit = at_open_home(shop, number, next, place)) return visit;
    if (waits_patiently(shop, trial)) return std::nullopt;
    const auto partition = trial.to_visit.first_in_both(shop.open_partitions(place), next);
    return partition ? at_open_home(shop, number, *partition, place) : std::nullopt;
  }
  std::optional<PlacedVisit> for_team(const OpenShop& shop, std::uint32_t number, bool now) const override {
    if (const auto visit = in_order_.for_team(shop, number, now)) return visit;
    return GreedyVisits::for_team(shop, number, now);
  }
  std::optional<PlacedVisit> after(const OpenShop& shop, const PlacedVisit& visit) const override {
    const auto next = in_order_.after(shop, visit);
    return next ? next : GreedyVisits::after(shop, visit);
  }

 protected:
  bool allows(const OpenShop& shop, std::uint32_t, const OpenTrial& trial, std::uint32_t,
              std::uint32_t) const override {
    return !waits_patiently(shop, trial);
  }
  Preference of_trial(const OpenShop& shop, const PlacedVisit& visit) const override {
    return behind_then_longest(shop, visit);
  }

 private:
  static bool waits_patiently(const OpenShop& shop, const OpenTrial& trial) {
    const std::uint32_t next = trial.next_in_order();
    if (!trial.to_visit.test(next)) return false;  // it has left its rotation
    const auto home = shortest_queue(shop, next, [](std::uint32_t) { return true; });
    return home && shop.queue_s(*home) < kPatience * trial.visit_s;
  }

  SeedVisits in_order_;
};

class TaskVisits : public GreedyVisits {
 public:
  std::optional<PlacedVisit> for_worker(const OpenShop& shop, std::uint32_t worker, Place place) const override {
    if (place == Place::fetch) return std::nullopt;  // nothing is ever fetched
    return GreedyVisits::for_worker(shop, worker, place);
  }
  std::optional<PlacedVisit> for_trial(const OpenShop& shop, std::uint32_t trial, Place place) const override {
    if (place == Place::fetch) return std::nullopt;
    return GreedyVisits::for_trial(shop, trial, place);
  }
  std::optional<PlacedVisit> for_team(const OpenShop&, std::uint32_t, bool) const override { return std::nullopt; }
  std::optional<PlacedVisit> after(const OpenShop& shop, const PlacedVisit& visit) const override {
    const OpenTrial next = progress_after(shop, visit);
    if (next.done()) return std::nullopt;
    return PlacedVisit{visit.trial, next.epoch, next.visit, next.next_in_order(), visit.worker};
  }

 protected:
  const Bits& candidates(const OpenShop& shop, std::uint32_t partition) const override {
    return shop.in_order(partition);
  }
  bool allows(const OpenShop& shop, std::uint32_t, const OpenTrial& trial, std::uint32_t partition,
              std::uint32_t worker) const override {
    if (partition != trial.next_in_order()) return false;
    const auto stays_at = place_of(shop, trial);
    return stays_at ? *stays_at == worker : staying_at(shop, worker) < shop.workers()[worker].slots;
  }
  /// Those that stay there before those that would begin.
  Preference of_trial(const OpenShop& shop, const PlacedVisit& visit) const override {
    const OpenTrial& trial = shop.trial(visit.trial);
    return {place_of(shop, trial) ? 1.0 : 0.0, trial.remaining_s()};
  }

 private:
  /// Where the trial stays; nothing while it may begin anywhere. If that worker is dead, where else its state is.
  static std::optional<std::uint32_t> place_of(const OpenShop& shop, const OpenTrial& trial) {
    const auto lives = [&](std::uint32_t worker) { return shop.workers()[worker].alive; };
    const bool is_there = trial.last_at && (trial.holders.empty() || holds(trial, *trial.last_at));
    if (is_there && lives(*trial.last_at)) return trial.last_at;
    const auto other = std::find_if(trial.holders.begin(), trial.holders.end(), lives);
    if (other != trial.holders.end()) return *other;
    return trial.holders.empty() ? std::nullopt : std::optional(trial.holders.front());
  }
  static std::uint32_t staying_at(const OpenShop& shop, std::uint32_t worker) {
    std::uint32_t count = 0;
    for (std::uint32_t t = 0; t < shop.trial_count(); ++t) {
      const OpenTrial& trial = shop.trial(t);
      if (!trial.done() && !trial.held && place_of(shop, trial) == worker) ++count;
    }
    return count;
  }
};

class RandomVisits : public GreedyVisits {
 public:
  explicit RandomVisits(std::uint64_t seed) : seed_(derive(seed, "visits")) {}

 protected:
  Preference of_trial(const OpenShop& shop, const PlacedVisit& visit) const override { return {drawn(shop, visit)}; }
  Preference of_place(const OpenShop& shop, const PlacedVisit& visit) const override { return {drawn(shop, visit)}; }

 private:
  double drawn(const OpenShop& shop, const PlacedVisit& visit) const {
    std::uint64_t key = derive(seed_, shop.begun());
    for (const std::uint32_t part : {visit.trial, visit.partition, visit.worker}) key = derive(key, part);
    return static_cast<double>(key >> 11);
  }
  std::uint64_t seed_;
};

/// The longest remaining first is what keeps the last trial from being alone at the end. Trials that are equal but for
/// a visit or two follow their rotations, which stand evenly around, and so leave each other's partitions free.
class LongestVisits : public GreedyVisits {
 public:
  std::optional<PlacedVisit> for_trial(const OpenShop& shop, std::uint32_t number, Place place) const override {
    if (!shop.idle().test(number)) return std::nullopt;
    const OpenTrial& trial = shop.trial(number);
    const auto partition = trial.to_visit.first_in_both(shop.open_partitions(place), trial.next_in_order());
    return partition ? at_open_home(shop, number, *partition, place) : std::nullopt;
  }

 protected:
  Preference of_trial(const OpenShop& shop, const PlacedVisit& visit) const override {
    constexpr double kVisits = 2;
    const OpenTrial& trial = shop.trial(visit.trial);
    return {trial.remaining_s() - kVisits * trial.visit_s * off_rotation(shop, visit)};
  }
};

class ReplicaVisits : public LongestVisits {
 public:
  std::optional<PlacedVisit> for_trial(const OpenShop& shop, std::uint32_t number, Place place) const override {
    return GreedyVisits::for_trial(shop, number, place);
  }
  std::optional<PlacedVisit> after(const OpenShop& shop, const PlacedVisit& visit) const override {
    const OpenTrial next = progress_after(shop, visit);
    if (next.done()) return std::nullopt;
    for (const std::uint32_t partition : shop.partitions_of(visit.worker))
      if (next.to_visit.test(partition))
        return PlacedVisit{visit.trial, next.epoch, next.visit, partition, visit.worker};
    return LongestVisits::after(shop, visit);
  }

 protected:
  Preference of_trial(const OpenShop& shop, const PlacedVisit& visit) const override {
    return {holds(shop.trial(visit.trial), visit.worker) ? 1.0 : 0.0, LongestVisits::of_trial(shop, visit)[0]};
  }
  Preference of_place(const OpenShop& shop, const PlacedVisit& visit) const override {
    return {holds(shop.trial(visit.trial), visit.worker) ? 1.0 : 0.0, -shop.queue_s(visit.worker),
            -off_rotation(shop, visit)};
  }
};

void begin_for_workers(OpenShop& shop, const VisitScheduler& scheduler, const OpenShop::Changes& changes, Place place,
                       std::vector<PlacedVisit>& begun) {
  for (const std::uint32_t worker : changes.workers)
    while (const auto visit = scheduler.for_worker(shop, worker, place)) {
      shop.begin(*visit);
      begun.push_back(*visit);
    }
}

void begin_for_trials(OpenShop& shop, const VisitScheduler& scheduler, const OpenShop::Changes& changes, Place place,
                      std::vector<PlacedVisit>& begun) {
  for (const std::uint32_t trial : changes.trials)
    if (const auto visit = scheduler.for_trial(shop, trial, place)) {
      shop.begin(*visit);
      begun.push_back(*visit);
    }
}

void begin_teams(OpenShop& shop, const VisitScheduler& scheduler, bool in_turn, std::vector<PlacedVisit>& begun) {
  for (const std::uint32_t trial : std::vector(shop.idle_teams())) {
    if (shop.has_turn(trial) != in_turn) continue;
    if (const auto visit = scheduler.for_team(shop, trial, true)) {
      shop.begin(*visit);
      begun.push_back(*visit);
    } else if (in_turn && !shop.claim()) {
      if (const auto later = scheduler.for_team(shop, trial, false)) shop.claim(*later);
    }
  }
}

}  // namespace

std::string to_string(VisitSchedulerKind kind) {
  switch (kind) {
    case VisitSchedulerKind::seed:
      return "seed";
    case VisitSchedulerKind::random:
      return "random";
    case VisitSchedulerKind::lrtf:
      return "lrtf";
    case VisitSchedulerKind::replica:
      return "replica";
    case VisitSchedulerKind::patient:
      return "patient";
    case VisitSchedulerKind::task:
      return "task";
  }
  require(false, "no scheduler of visits has number ", static_cast<int>(kind));
  return "";
}

std::optional<VisitSchedulerKind> parse_visit_scheduler(std::string_view word) {
  if (word == to_string(VisitSchedulerKind::task)) return VisitSchedulerKind::task;
  for (const VisitSchedulerKind kind : kVisitSchedulerKinds)
    if (to_string(kind) == word) return kind;
  return std::nullopt;
}

std::unique_ptr<VisitScheduler> make_visit_scheduler(VisitSchedulerKind kind, std::uint64_t seed) {
  switch (kind) {
    case VisitSchedulerKind::seed:
      return std::make_unique<SeedVisits>();
    case VisitSchedulerKind::random:
      return std::make_unique<RandomVisits>(seed);
    case VisitSchedulerKind::lrtf:
      return std::make_unique<LongestVisits>();
    case VisitSchedulerKind::replica:
      return std::make_unique<ReplicaVisits>();
    case VisitSchedulerKind::patient:
      return std::make_unique<PatientVisits>();
    case VisitSchedulerKind::task:
      return std::make_unique<TaskVisits>();
  }
  require(false, "no scheduler of visits has number ", static_cast<int>(kind));
  return nullptr;
}

std::vector<PlacedVisit> dispatch(OpenShop& shop, const VisitScheduler& scheduler) {
  const OpenShop::Changes changes = shop.take_changes();
  std::vector<PlacedVisit> begun;
  if (changes.workers.empty() && changes.trials.empty()) return begun;
  begin_teams(shop, scheduler, true, begun);
  for (const Place place : {Place::train, Place::fetch}) {
    begin_for_workers(shop, scheduler, changes, place, begun);
    begin_for_trials(shop, scheduler, changes, place, begun);
    if (place == Place::train) begin_teams(shop, scheduler, false, begun);
  }
  return begun;
}

std::vector<std::uint32_t> replica_targets(const OpenShop& shop, const VisitScheduler& scheduler,
                                           const PlacedVisit& visit, std::uint32_t copies) {
  std::vector<std::uint32_t> targets;
  if (copies <= visit.size()) return targets;
  const auto next = scheduler.after(shop, visit);
  if (next && !visit.is_at(next->worker)) targets.push_back(next->worker);
  // Then the workers behind it, so that copies spread.
  const auto count = static_cast<std::uint32_t>(shop.workers().size());
  for (std::uint32_t step = 1; step < count && targets.size() + visit.size() < copies; ++step) {
    const std::uint32_t worker = (visit.worker + step) % count;
    if (shop.workers()[worker].alive && !visit.is_at(worker) &&
        std::find(targets.begin(), targets.end(), worker) == targets.end())
      targets.push_back(worker);
  }
  return targets;
}

}  // namespace hopyard
