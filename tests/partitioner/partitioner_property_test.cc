// The dynamic program against all cuts there are, and against greedy.
#include <gtest/gtest.h>

#include <algorithm>

#include "partitioner/shard_tasks.h"
#include "partitioner/toy_models.h"

namespace hopyard {
namespace {

constexpr double kRounding = 1 + 1e-9;  // sums in another order

bool all_fit(const PartitionPlan& plan, const DeviceLimits& device) {
  return std::all_of(plan.shards.begin(), plan.shards.end(),
                     [&](const ShardPlan& shard) { return fits(shard_need(shard, device), device); });
}

/// Shards that stand one behind the other from the first layer to the last.
bool covers(const PartitionPlan& plan, std::size_t layers) {
  std::uint32_t at = 0;
  for (const ShardPlan& shard : plan.shards) {
    if (shard.begin != at || shard.end <= shard.begin) return false;
    at = shard.end;
  }
  return at == layers;
}

double brute_force(const std::vector<LayerCost>& layers, const DeviceLimits& device) {
  double best = std::numeric_limits<double>::infinity();
  for (std::uint32_t mask = 0; mask < 1u << (layers.size() - 1); ++mask) {
    std::vector<std::uint32_t> cuts;
    for (std::uint32_t i = 1; i < layers.size(); ++i) {
      if (mask >> (i - 1) & 1) cuts.push_back(i);
    }
    const PartitionPlan plan = evaluate_cuts(layers, cuts, device);
    if (plan.resident || all_fit(plan, device)) best = std::min(best, plan.step_s);
  }
  return best;
}

TEST(PartitionProperty, DynamicProgramFindsTheBestOfAllCuts) {
  int cut = 0;
  for (std::uint64_t instance = 0; instance < 1500; ++instance) {
    KeyedStream random(derive(1, instance));
    const auto layers = random_model(random, 10);
    const DeviceLimits device = random_device(random);
    const PartitionResult result = partition_dp(layers, device);
    if (!result.plan) continue;
    cut += result.plan->shards.size() > 2;
    ASSERT_NEAR(result.plan->step_s, brute_force(layers, device), 1e-9 * result.plan->step_s)
        << "instance " << instance;
  }
  EXPECT_GT(cut, 300);
}

TEST(PartitionProperty, NeverSlowerThanGreedyAndEveryShardFits) {
  int faster = 0, refused = 0;
  for (std::uint64_t instance = 0; instance < 5000; ++instance) {
    KeyedStream random(derive(2, instance));
    const auto layers = random_model(random, 24);
    const DeviceLimits device = random_device(random);
    const PartitionResult dp = partition_dp(layers, device), greedy = partition_greedy(layers, device);
    ASSERT_EQ(dp.plan.has_value(), greedy.plan.has_value());
    ASSERT_NE(dp.plan.has_value(), dp.refusal.has_value());
    if (!dp.plan) {
      ++refused;
      const std::uint32_t layer = dp.refusal->layer;
      ASSERT_EQ(dp.refusal->needed, shard_need(make_shard(layers, layer, layer + 1, device), device));
      ASSERT_GT(dp.refusal->needed, dp.refusal->available);
      continue;
    }
    for (const PartitionPlan* plan : {&*dp.plan, &*greedy.plan}) {
      ASSERT_TRUE(covers(*plan, layers.size()));
      ASSERT_TRUE(plan->resident || all_fit(*plan, device));
      ASSERT_LE(plan->peak_bytes, device.memory);
    }
    ASSERT_LE(dp.plan->step_s, greedy.plan->step_s * kRounding) << "instance " << instance;
    faster += dp.plan->step_s * kRounding < greedy.plan->step_s;
  }
  EXPECT_GT(faster, 500);
  EXPECT_GT(refused, 50);
}

TEST(PartitionProperty, StepIsNeverFasterThanComputeOrLink) {
  for (std::uint64_t instance = 0; instance < 1000; ++instance) {
    KeyedStream random(derive(3, instance));
    const auto layers = random_model(random, 16);
    const PartitionResult result = partition_dp(layers, random_device(random));
    if (!result.plan) continue;
    ASSERT_GE(result.plan->step_s * kRounding, result.plan->compute_s);
    ASSERT_GE(result.plan->step_s * kRounding, result.plan->transfer_s);
  }
}

TEST(PartitionProperty, EqualArgumentsGiveEqualPlans) {
  for (std::uint64_t instance = 0; instance < 200; ++instance) {
    KeyedStream random(derive(4, instance));
    const auto layers = random_model(random, 16);
    const DeviceLimits device = random_device(random);
    ASSERT_EQ(partition_dp(layers, device).plan, partition_dp(layers, device).plan);
  }
}

TEST(PartitionProperty, DeepModelsAreCutAmongFewerPlacesAndStillNotWorseThanGreedy) {
  for (const std::uint32_t count : {128u, 129u, 300u, 1000u}) {
    KeyedStream random(derive(5, count));
    std::vector<LayerCost> layers;
    while (layers.size() < count) {
      for (LayerCost& layer : random_model(random, 10)) {
        layer.borrowed_from.reset();
        layer.borrowed_bytes = 0;
        if (layers.size() < count) layers.push_back(layer);
      }
    }
    DeviceLimits device = random_device(random);
    device.memory = 400'000;
    const PartitionResult dp = partition_dp(layers, device), greedy = partition_greedy(layers, device);
    ASSERT_TRUE(dp.plan && greedy.plan);
    EXPECT_TRUE(covers(*dp.plan, layers.size()));
    EXPECT_TRUE(all_fit(*dp.plan, device));
    EXPECT_LE(dp.plan->step_s, greedy.plan->step_s * kRounding) << count;
  }
}

TEST(PartitionProperty, MoreShardsThanTheTableHoldsAreStillCut) {
  const std::vector<LayerCost> layers(400, adamw_layer("wide", 1e6, 0.01));
  const DeviceLimits device = emulated(60 * MiB, 4.0 * GiB);  // two layers at most in a shard
  const PartitionResult result = partition_dp(layers, device);
  ASSERT_TRUE(result.plan);
  EXPECT_TRUE(covers(*result.plan, layers.size()));
  EXPECT_TRUE(all_fit(*result.plan, device));
}

}  // namespace
}  // namespace hopyard
