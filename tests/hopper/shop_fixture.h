// Clusters and trials for tests and benchmarks of the hopper.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "hopper/bounds.h"
#include "hopper/hopper_simulator.h"
#include "hopper/visit_order.h"

namespace hopyard::fakes {

/// Trials that each take so long for an epoch, with rotations as a config gives them; a worker for each partition, or
/// more partitions than workers.
inline HopperSimSpec cluster(std::span<const double> epochs_s, std::uint32_t workers, std::uint32_t partitions,
                             std::uint32_t replication = 1, std::uint32_t epochs = 1) {
  HopperSimSpec spec;
  spec.placement = place_partitions(partitions, workers, replication);
  spec.workers.resize(workers);
  std::vector<double> visits_s;
  for (const double epoch_s : epochs_s) visits_s.push_back(epoch_s / partitions);
  const auto rotations = Rotations(17, partitions).add(visits_s);
  for (std::size_t i = 0; i < visits_s.size(); ++i)
    spec.trials.push_back({.epochs = epochs, .rotation = rotations[i], .visit_s = visits_s[i]});
  return spec;
}

inline OpenShop shop_of(const HopperSimSpec& spec) {
  std::vector<ShopWorker> workers;
  for (const SimWorker& worker : spec.workers) workers.push_back(worker.worker);
  OpenShop shop(spec.placement, workers);
  for (const ShopTrial& trial : spec.trials) shop.add(trial);
  return shop;
}

/// Makespan ÷ lower bound.
inline double ratio_to_bound(const HopperSimSpec& spec, VisitSchedulerKind kind, std::uint64_t seed = 0) {
  const auto result = simulate_hopper(spec, *make_visit_scheduler(kind, seed));
  return result.makespan_s / open_shop_bound_s(shop_of(spec));
}

}  // namespace hopyard::fakes
