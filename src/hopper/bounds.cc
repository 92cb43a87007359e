#include "hopper/bounds.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <numeric>
#include <queue>
#include <stdexcept>

#include "base/failure.h"

namespace hopyard {

namespace {

/// Seconds at speed 1 that visits to each partition have left.
std::vector<double> partition_work(const OpenShop& shop) {
  std::vector<double> work(shop.partitions());
  for (std::uint32_t t = 0; t < shop.trial_count(); ++t) {
    const OpenTrial& trial = shop.trial(t);
    if (trial.done()) continue;
    const double later_s = (trial.epochs - trial.epoch - 1) * trial.visit_s;
    // Each member of a team is at it for as long.
    trial.whole_epoch().for_each([&](std::uint32_t p) { work[p] += trial.degree * later_s; });
    trial.to_visit.for_each([&](std::uint32_t p) { work[p] += trial.degree * trial.visit_s; });
  }
  return work;
}

double longest_trial(const OpenShop& shop) {
  std::vector<double> fastest(shop.partitions());
  for (std::uint32_t p = 0; p < fastest.size(); ++p)
    for (const std::uint32_t home : shop.homes(p)) fastest[p] = std::max(fastest[p], shop.workers()[home].speed);
  double longest = 0;
  for (std::uint32_t t = 0; t < shop.trial_count(); ++t) {
    const OpenTrial& trial = shop.trial(t);
    if (trial.done()) continue;
    double epoch_s = 0;  // if visits took a second
    trial.whole_epoch().for_each([&](std::uint32_t p) { epoch_s += 1 / fastest[p]; });
    double total_s = (trial.epochs - trial.epoch - 1) * epoch_s;
    trial.to_visit.for_each([&](std::uint32_t p) { total_s += 1 / fastest[p]; });
    longest = std::max(longest, total_s * trial.visit_s);
  }
  return longest;
}

double capacity(const ShopWorker& worker) { return worker.speed * worker.devices; }

/// For each worker the least one that it shares partitions with, over any others.
std::vector<std::uint32_t> components(const OpenShop& shop) {
  std::vector<std::uint32_t> leader(shop.workers().size());
  std::iota(leader.begin(), leader.end(), 0u);
  const auto find = [&](std::uint32_t worker) {
    while (leader[worker] != worker) worker = leader[worker] = leader[leader[worker]];
    return worker;
  };
  for (std::uint32_t p = 0; p < shop.partitions(); ++p)
    for (const std::uint32_t home : shop.homes(p)) {
      const std::uint32_t a = find(home), b = find(shop.homes(p).front());
      leader[std::max(a, b)] = std::min(a, b);
    }
  for (std::uint32_t worker = 0; worker < leader.size(); ++worker) leader[worker] = find(worker);
  return leader;
}

double most_loaded(const OpenShop& shop) {
  const std::vector<double> work = partition_work(shop);
  const auto leader = components(shop);
  std::vector<double> alone(leader.size()), together(leader.size()), power(leader.size());
  for (std::uint32_t p = 0; p < work.size(); ++p) {
    const auto& homes = shop.homes(p);
    if (homes.size() == 1) alone[homes.front()] += work[p];
    together[leader[homes.front()]] += work[p];
  }
  for (std::uint32_t w = 0; w < leader.size(); ++w) power[leader[w]] += capacity(shop.workers()[w]);
  double most = 0;
  for (std::uint32_t w = 0; w < leader.size(); ++w) {
    most = std::max(most, alone[w] / capacity(shop.workers()[w]));
    if (power[w] > 0) most = std::max(most, together[w] / power[w]);
  }
  return most;
}

Bytes product(std::initializer_list<std::uint64_t> factors) {
  Bytes all = 1;
  for (const std::uint64_t factor : factors) {
    const auto next = checked_multiply(all, factor);
    if (!next) throw std::overflow_error("bytes over the network beyond 64 bits");
    all = *next;
  }
  return all;
}

}  // namespace

double open_shop_bound_s(const OpenShop& shop) { return std::max(longest_trial(shop), most_loaded(shop)); }

double task_parallel_makespan_s(std::span<const double> trials_s, std::uint32_t workers) {
  require(workers > 0, "trials on no worker");
  std::vector<double> longest_first(trials_s.begin(), trials_s.end());
  std::sort(longest_first.begin(), longest_first.end(), std::greater<>());
  std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
  for (std::uint32_t w = 0; w < workers; ++w) free_at.push(0);
  double makespan = 0;
  for (const double trial_s : longest_first) {
    const double end = free_at.top() + trial_s;
    free_at.pop();
    free_at.push(end);
    makespan = std::max(makespan, end);
  }
  return makespan;
}

Bytes hopper_bytes(const CommunicationCase& c) {
  const Bytes hops = product({c.epochs, c.model_bytes, c.partitions, c.trials});
  const Bytes home = product({c.model_bytes, c.trials});
  if (hops + home < hops) throw std::overflow_error("bytes over the network beyond 64 bits");
  return hops + home;
}

Bytes step_bytes(std::uint64_t members, Bytes gradient_bytes) {
  require(members > 0, "a step of no member");
  return product({2, members - 1, gradient_bytes});
}

Bytes data_parallel_bytes(const CommunicationCase& c) {
  require(c.partitions > 0, "data parallelism over no worker");
  const std::uint64_t steps = c.batches / c.partitions + (c.batches % c.partitions != 0);
  return product({step_bytes(c.partitions, c.model_bytes), c.epochs, c.trials, steps});
}

}  // namespace hopyard
