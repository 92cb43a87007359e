#include "hopper/greedy_visits.h"

#include <algorithm>
#include <tuple>

namespace hopyard {

namespace {

/// Keeps the greatest preference and what it is for.
class Best {
 public:
  void offer(const GreedyVisits::Preference& preference, const PlacedVisit& visit) {
    if (best_ && !(preference > preference_)) return;
    preference_ = preference;
    best_ = visit;
  }
  const std::optional<PlacedVisit>& visit() const { return best_; }

 private:
  GreedyVisits::Preference preference_{};
  std::optional<PlacedVisit> best_;
};

}  // namespace

const Bits& GreedyVisits::candidates(const OpenShop& shop, std::uint32_t partition) const {
  return shop.wanting(partition);
}

bool GreedyVisits::allows(const OpenShop&, std::uint32_t, const OpenTrial&, std::uint32_t, std::uint32_t) const {
  return true;
}

GreedyVisits::Preference GreedyVisits::of_place(const OpenShop& shop, const PlacedVisit& visit) const {
  return {-shop.queue_s(visit.worker)};
}

std::optional<PlacedVisit> GreedyVisits::for_worker(const OpenShop& shop, std::uint32_t worker, Place place) const {
  if (!shop.open(worker, place)) return std::nullopt;
  Best best;
  for (const std::uint32_t partition : shop.partitions_of(worker)) {
    candidates(shop, partition).for_each_in_both(shop.idle(), [&](std::uint32_t number) {
      const OpenTrial& trial = shop.trial(number);
      if (!allows(shop, number, trial, partition, worker)) return;
      const PlacedVisit visit{number, trial.epoch, trial.visit, partition, worker};
      best.offer(of_trial(shop, visit), visit);
    });
  }
  return best.visit();
}

std::optional<PlacedVisit> GreedyVisits::for_trial(const OpenShop& shop, std::uint32_t number, Place place) const {
  if (!shop.idle().test(number)) return std::nullopt;
  const OpenTrial& trial = shop.trial(number);
  Best best;
  trial.to_visit.for_each_in_both(shop.open_partitions(place), [&](std::uint32_t partition) {
    for (const std::uint32_t home : shop.homes(partition)) {
      if (!shop.open(home, place) || !allows(shop, number, trial, partition, home)) continue;
      const PlacedVisit visit{number, trial.epoch, trial.visit, partition, home};
      best.offer(of_place(shop, visit), visit);
    }
  });
  return best.visit();
}

std::optional<PlacedVisit> GreedyVisits::for_team(const OpenShop& shop, std::uint32_t number, bool now) const {
  const OpenTrial& trial = shop.trial(number);
  Best best;
  for (std::uint32_t step = 0; step < shop.partitions(); ++step) {
    const std::uint32_t partition = (trial.next_in_order() + step) % shop.partitions();
    const std::uint32_t size = shop.team_size(number, partition);
    if (size == 0 || !trial.to_visit.test(partition)) continue;
    std::vector<std::uint32_t> team;
    for (const std::uint32_t home : shop.homes(partition))
      if (shop.workers()[home].alive && allows(shop, number, trial, partition, home) &&
          (!now || shop.open_to_team(number, home)))
        team.push_back(home);
    if (team.size() < size) continue;
    const auto cost = [&](std::uint32_t home) { return std::tuple(!holds(trial, home), shop.queue_s(home), home); };
    std::sort(team.begin(), team.end(), [&](std::uint32_t a, std::uint32_t b) { return cost(a) < cost(b); });
    PlacedVisit visit{number, trial.epoch, trial.visit, partition, team.front()};
    visit.others.assign(team.begin() + 1, team.begin() + size);
    std::sort(visit.others.begin(), visit.others.end());
    best.offer(of_place(shop, visit), visit);
  }
  return best.visit();
}

std::optional<PlacedVisit> GreedyVisits::after(const OpenShop& shop, const PlacedVisit& visit) const {
  const OpenTrial next = progress_after(shop, visit);
  if (next.done()) return std::nullopt;
  for (std::uint32_t step = 0; step < shop.partitions(); ++step) {
    const std::uint32_t partition = (next.next_in_order() + step) % shop.partitions();
    if (!next.to_visit.test(partition)) continue;
    const auto home = shortest_queue(
        shop, partition, [&](std::uint32_t worker) { return allows(shop, visit.trial, next, partition, worker); });
    if (home) return PlacedVisit{visit.trial, next.epoch, next.visit, partition, *home};
  }
  return std::nullopt;
}

bool holds(const OpenTrial& trial, std::uint32_t worker) {
  return std::find(trial.holders.begin(), trial.holders.end(), worker) != trial.holders.end();
}

OpenTrial progress_after(const OpenShop& shop, const PlacedVisit& visit) {
  OpenTrial next = shop.trial(visit.trial);
  next.under_way.reset();
  next.holders = visit.members();
  next.to_visit.reset(visit.partition);
  if (++next.visit == next.visits_per_epoch()) {
    ++next.epoch;
    next.visit = 0;
    next.to_visit = next.whole_epoch();
  }
  return next;
}

}  // namespace hopyard
