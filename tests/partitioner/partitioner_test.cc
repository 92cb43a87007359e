// What the numbers of shards and plans mean, on models small enough to add up by hand.
#include "partitioner/partitioner.h"

#include <gtest/gtest.h>

#include "partitioner/toy_models.h"

namespace hopyard {
namespace {

/// Three layers of 100 bytes, 1 s forward, 2 s backward, 0.5 s update; no activations.
std::vector<LayerCost> plain_layers() {
  LayerCost layer;
  layer.parameter_bytes = 100;
  layer.moment_bytes = 200;
  layer.gradient_bytes = 100;
  layer.forward_s = 1;
  layer.backward_s = 2;
  layer.update_s = 0.5;
  std::vector<LayerCost> layers(3, layer);
  for (std::size_t i = 0; i < layers.size(); ++i) layers[i].name = text::cat("layer.", i);
  return layers;
}

DeviceLimits device_of(Bytes memory, double bytes_per_s) {
  DeviceLimits device;
  device.memory = memory;
  device.load_bytes_per_s = device.store_bytes_per_s = bytes_per_s;
  return device;
}

TEST(MakeShard, AddsUpBytesAndTimes) {
  auto layers = plain_layers();
  layers[0].output_bytes = 10;
  layers[1].output_bytes = 20;
  layers[1].saved_bytes = 7;
  layers[2].saved_bytes = 5;
  layers[2].transient_bytes = 3;
  const ShardPlan shard = make_shard(layers, 1, 3, device_of(10'000, 100));
  EXPECT_EQ(shard.forward_load_bytes, 200u);
  EXPECT_EQ(shard.backward_load_bytes, 600u);
  EXPECT_EQ(shard.store_bytes, 600u);
  EXPECT_EQ(shard.forward_workspace, (10u + 20u) + 10u);  // the wider layer, and the input boundary
  EXPECT_EQ(shard.backward_workspace,
            200u + 12u + 3u + 2 * 10u);  // gradients, saved, transient, boundary and its gradient
  EXPECT_DOUBLE_EQ(shard.forward_s, 2);
  EXPECT_DOUBLE_EQ(shard.backward_s, 2 + 4 + 1);
  EXPECT_TRUE(shard.backward);
}

TEST(MakeShard, BordersOfAllMicroBatchesStayButSavedOfOneOnly) {
  auto layers = plain_layers();
  layers[0].output_bytes = 10;
  layers[0].saved_bytes = 1000;
  DeviceLimits device = device_of(10'000, 100);
  const ShardPlan one = make_shard(layers, 0, 1, device);
  device.micro_batches = 4;
  const ShardPlan four = make_shard(layers, 0, 1, device);
  EXPECT_EQ(four.forward_workspace - one.forward_workspace, 30u);
  EXPECT_EQ(four.backward_workspace - one.backward_workspace, 30u);
}

TEST(MakeShard, HostUpdateLoadsParametersAndStoresGradients) {
  DeviceLimits device = device_of(10'000, 100);
  device.update_on_host = true;
  const ShardPlan shard = make_shard(plain_layers(), 0, 2, device);
  EXPECT_EQ(shard.backward_load_bytes, 200u);
  EXPECT_EQ(shard.store_bytes, 200u);
  EXPECT_DOUBLE_EQ(shard.backward_s, 6);
}

TEST(MakeShard, FrozenLayersAreNeitherStoredNorUpdated) {
  auto layers = plain_layers();
  for (int i : {0, 1}) layers[i].trainable = false, layers[i].moment_bytes = layers[i].gradient_bytes = 0;
  const DeviceLimits device = device_of(10'000, 100);
  const ShardPlan frozen = make_shard(layers, 0, 1, device), mixed = make_shard(layers, 1, 3, device);
  EXPECT_FALSE(frozen.backward);
  EXPECT_EQ(frozen.store_bytes + frozen.backward_load_bytes + frozen.backward_workspace, 0u);
  EXPECT_TRUE(mixed.backward);
  EXPECT_EQ(mixed.store_bytes, 300u);
  EXPECT_DOUBLE_EQ(mixed.backward_s, 2 + 2 + 0.5);
}

TEST(MakeShard, FrozenLayersBehindTrainableOnesPassGradients) {
  auto layers = plain_layers();
  layers[1].trainable = false;
  layers[1].moment_bytes = layers[1].gradient_bytes = 0;
  const ShardPlan middle = make_shard(layers, 1, 2, device_of(10'000, 100));
  EXPECT_TRUE(middle.backward);
  EXPECT_DOUBLE_EQ(middle.backward_s, 1 + 2);
  EXPECT_EQ(middle.store_bytes, 0u);
}

TEST(MakeShard, TiedParametersAreLoadedOnceWhereTheirOwnerIs) {
  auto layers = plain_layers();
  layers[2].borrowed_bytes = 100;
  layers[2].borrowed_from = 0;
  const DeviceLimits device = device_of(10'000, 100);
  EXPECT_EQ(make_shard(layers, 0, 3, device).forward_load_bytes, 300u);
  EXPECT_EQ(make_shard(layers, 1, 3, device).forward_load_bytes, 300u);
  EXPECT_EQ(make_shard(layers, 1, 3, device).store_bytes, 600u + 100u);          // and the tied gradient
  EXPECT_EQ(make_shard(layers, 0, 1, device).backward_load_bytes, 300u + 100u);  // which the owner reads
}

TEST(MakeShard, RejectsAnEmptyRange) {
  EXPECT_THROW(make_shard(plain_layers(), 1, 1, device_of(1, 1)), std::logic_error);
  EXPECT_THROW(make_shard(plain_layers(), 1, 4, device_of(1, 1)), std::logic_error);
}

TEST(EvaluateCuts, WithoutDoubleBufferingAllIsSerial) {
  DeviceLimits device = device_of(500, 100);
  device.double_buffer = false;
  const PartitionPlan plan = evaluate_cuts(plain_layers(), {1, 2}, device);
  // Loads: F0 1, F1 1, B2 3, B1 3, B0 3; stores 3 × 3; compute 1 + 1 + 3 × 3.5.
  EXPECT_DOUBLE_EQ(plan.compute_s, 12.5);
  EXPECT_DOUBLE_EQ(plan.transfer_s, 11);
  EXPECT_DOUBLE_EQ(plan.step_s, 12.5 + 11 + 9);
  EXPECT_EQ(plan.peak_bytes, 400u);
}

TEST(EvaluateCuts, WithRoomForNeighboursTheLongerOfComputeAndLinkCounts) {
  // F0: max(1, store B0 3, load F1 1) · F1: max(1, load B2 3) · B2: max(3.5, load B1 3) · B1 and B0: max(3.5, 3, 3).
  const PartitionPlan plan = evaluate_cuts(plain_layers(), {1, 2}, device_of(1000, 100));
  EXPECT_DOUBLE_EQ(plan.step_s, 3 + 3 + 3 * 3.5);
  EXPECT_EQ(plan.peak_bytes, 1000u);      // B1 with its gradient, B0 loading, B2 storing
  EXPECT_DOUBLE_EQ(plan.transfer_s, 10);  // the first shard's forward finds its bytes on the device
}

TEST(EvaluateCuts, WithRoomForOneNeighbourTheLoadWaitsForTheStore) {
  // B1 (400) has room for B2's leaving or for B0's coming state (300), not for both: max(3.5, 3 + 3).
  const PartitionPlan plan = evaluate_cuts(plain_layers(), {1, 2}, device_of(700, 100));
  EXPECT_DOUBLE_EQ(plan.step_s, 3 + 3 + 3.5 + 6 + 3.5);
  EXPECT_EQ(plan.peak_bytes, 700u);
}

TEST(EvaluateCuts, HostUpdateComesAfterTheLastBackward) {
  DeviceLimits device = device_of(400, 100);
  device.update_on_host = true;
  const PartitionPlan plan = evaluate_cuts(plain_layers(), {1, 2}, device);
  EXPECT_DOUBLE_EQ(plan.host_update_s, 1.5);
  EXPECT_DOUBLE_EQ(plan.compute_s, 2 + 9);
  // Load F0 1, F0 1, F1 1, B2 3, B1 3, B0 3, its store 1, the update.
  EXPECT_DOUBLE_EQ(plan.step_s, 1 + 1 + 1 + 9 + 1 + 1.5);
}

TEST(Partition, WhatFitsWholeIsResident) {
  for (const auto& partition : {partition_dp, partition_greedy}) {
    const PartitionResult result = partition(plain_layers(), device_of(1200, 100));
    ASSERT_TRUE(result.plan);
    EXPECT_TRUE(result.plan->resident);
    EXPECT_EQ(result.plan->shards.size(), 1u);
    EXPECT_DOUBLE_EQ(result.plan->step_s, 10.5);
    EXPECT_EQ(result.plan->transfer_s, 0);
    EXPECT_EQ(result.plan->peak_bytes, 1200u);
    EXPECT_FALSE(partition(plain_layers(), device_of(1199, 100)).plan->resident);
  }
}

TEST(Partition, ResidentNeedsTheMomentsEvenWhenTheHostUpdatesCutModels) {
  DeviceLimits device = device_of(700, 100);
  device.update_on_host = true;  // one shard of 300 + 300 bytes would fit, 300 + 600 + 300 resident would not
  const PartitionResult result = partition_dp(plain_layers(), device);
  ASSERT_TRUE(result.plan);
  EXPECT_FALSE(result.plan->resident);
}

TEST(Partition, GreedyFillsEveryShard) {
  const PartitionResult result = partition_greedy(plain_layers(), device_of(800, 100));
  ASSERT_TRUE(result.plan);
  ASSERT_EQ(result.plan->shards.size(), 2u);
  EXPECT_EQ(result.plan->shards[0].end, 2u);
}

TEST(Partition, RefusalNamesTheLayerAndTheBytes) {
  auto layers = plain_layers();
  layers[1].parameter_bytes = 1000;
  for (const auto& partition : {partition_dp, partition_greedy}) {
    const PartitionResult result = partition(layers, device_of(900, 100));
    EXPECT_FALSE(result.plan);
    ASSERT_TRUE(result.refusal);
    EXPECT_EQ(result.refusal->layer, 1u);
    EXPECT_EQ(result.refusal->needed, 1000u + 200u + 100u);
    EXPECT_EQ(result.refusal->available, 900u);
  }
}

TEST(Partition, WithoutALinkOnlyTheWorkspaceCounts) {
  auto layers = plain_layers();
  for (LayerCost& layer : layers) layer.parameter_bytes = 1'000'000, layer.saved_bytes = 50;
  DeviceLimits device;
  device.memory = 400;  // gradients of 3 × 100 and saved 150 do not fit
  const PartitionResult cut = partition_dp(layers, device);
  ASSERT_TRUE(cut.plan);
  EXPECT_EQ(cut.plan->shards.size(), 2u);
  EXPECT_EQ(cut.plan->transfer_s, 0);
  EXPECT_DOUBLE_EQ(cut.plan->step_s, cut.plan->compute_s);
  device.memory = 0;  // no bound
  EXPECT_TRUE(partition_dp(layers, device).plan->resident);
}

TEST(Partition, RecomputeIsPaidForAllButTheLastShard) {
  DeviceLimits device;
  device.memory = 200;
  const PartitionPlan plan = *partition_dp(plain_layers(), device).plan;
  ASSERT_EQ(plan.shards.size(), 2u);
  EXPECT_EQ(plan.shards[1].begin, 1u);  // the more layers in the last shard, the fewer are computed twice
  EXPECT_DOUBLE_EQ(plan.compute_s, 3 * 3.5 + 1);
}

TEST(Partition, MiniLmOnTheDemoDevice) {
  const DeviceLimits device = emulated(256 * MiB, 4.0 * GiB);
  const PartitionResult dp = partition_dp(minilm(), device), greedy = partition_greedy(minilm(), device);
  ASSERT_TRUE(dp.plan && greedy.plan);
  EXPECT_FALSE(dp.plan->resident);
  EXPECT_LE(dp.plan->peak_bytes, device.memory);
  EXPECT_LT(dp.plan->step_s, greedy.plan->step_s);
  EXPECT_LT(dp.plan->step_s, 1.05 * std::max(dp.plan->compute_s, dp.plan->transfer_s));
  EXPECT_TRUE(partition_dp(minilm(), emulated(512 * MiB, 4.0 * GiB)).plan->resident);
}

}  // namespace
}  // namespace hopyard
