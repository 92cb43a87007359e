// Hydra's cuts: every shard as large as the device allows.
#include "base/failure.h"
#include "partitioner/shard_tasks.h"

namespace hopyard {
namespace {

/// A shard can need less than its first layers alone (a wide boundary that moves inside), so all ends are tried.
std::uint32_t farthest_end(const std::vector<LayerCost>& layers, std::uint32_t begin, const DeviceLimits& device) {
  for (auto end = static_cast<std::uint32_t>(layers.size()); end > begin + 1; --end) {
    if (fits(shard_need(make_shard(layers, begin, end, device), device), device)) return end;
  }
  return begin + 1;
}

}  // namespace

PartitionResult partition_greedy(const std::vector<LayerCost>& layers, const DeviceLimits& device) {
  require(!layers.empty(), "a model without layers cannot be cut");
  if (auto plan = resident_plan(layers, device)) return {plan, std::nullopt};
  if (auto misfit = first_misfit(layers, device)) return {std::nullopt, misfit};
  std::vector<std::uint32_t> cuts;
  for (std::uint32_t begin = farthest_end(layers, 0, device); begin < layers.size();) {
    cuts.push_back(begin);
    begin = farthest_end(layers, begin, device);
  }
  return {evaluate_cuts(layers, cuts, device), std::nullopt};
}

}  // namespace hopyard
