// What schedulers of visits have in common: all possible visits, and a preference among them.
#pragma once

#include <array>

#include "hopper/visit_scheduler.h"

namespace hopyard {

/// The possible visit with the greatest preference; of equal ones the first by partition, then trial or worker.
class GreedyVisits : public VisitScheduler {
 public:
  using Preference = std::array<double, 3>;  ///< compared from the left

  std::optional<PlacedVisit> for_worker(const OpenShop& shop, std::uint32_t worker, Place place) const override;
  std::optional<PlacedVisit> for_trial(const OpenShop& shop, std::uint32_t trial, Place place) const override;
  /// Those of its homes that hold the state before others, then those with the shortest queues.
  std::optional<PlacedVisit> for_team(const OpenShop& shop, std::uint32_t trial, bool now) const override;
  /// The first partition from where its rotation stands that is left, on its living home with the shortest queue.
  std::optional<PlacedVisit> after(const OpenShop& shop, const PlacedVisit& visit) const override;

 protected:
  /// Trials that could visit the partition next, idle or not.
  virtual const Bits& candidates(const OpenShop& shop, std::uint32_t partition) const;
  /// Whether the order of visits lets the trial go there now. Partitions that are not left are not asked for.
  virtual bool allows(const OpenShop& shop, std::uint32_t number, const OpenTrial& trial, std::uint32_t partition,
                      std::uint32_t worker) const;
  /// Among trials for a worker, and among places for a trial.
  virtual Preference of_trial(const OpenShop& shop, const PlacedVisit& visit) const = 0;
  virtual Preference of_place(const OpenShop& shop, const PlacedVisit& visit) const;
};

bool holds(const OpenTrial& trial, std::uint32_t worker);
/// The trial as it will be when the visit, which is under way, is committed on its workers.
OpenTrial progress_after(const OpenShop& shop, const PlacedVisit& visit);
/// The living home of a partition with the shortest queue that `accepts`; nothing when there is none.
template <class Accepts>
std::optional<std::uint32_t> shortest_queue(const OpenShop& shop, std::uint32_t partition, const Accepts& accepts) {
  std::optional<std::uint32_t> best;
  for (const std::uint32_t home : shop.homes(partition))
    if (shop.workers()[home].alive && accepts(home) && (!best || shop.queue_s(home) < shop.queue_s(*best))) best = home;
  return best;
}

}  // namespace hopyard
