// Which frozen layers are materialised: what saves time, within the budget; exact against trying every choice.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "base/rng.h"
#include "fakes/small_world.h"
#include "planner/sharing.h"

namespace hopyard {
namespace {

SharingTrial trial(const std::string& id, std::uint32_t depth, std::uint64_t rows_left, const char* prefix = "bert") {
  SharingTrial one;
  one.id = id, one.prefix = prefix, one.rows = 100, one.rows_left = rows_left;
  for (std::uint32_t l = 0; l < depth; ++l) one.frozen.push_back({0.01, 1e6, 1e-4, 1000, 5000});
  return one;
}

constexpr Bytes kDepthBytes = 100 * 1000 + 2 * kHostGranule;

/// 80 training rows in partitions of 10, and 20 of validation data; two epochs left.
SharingTrial in_partitions(const std::string& id, std::uint32_t depth) {
  SharingTrial one = trial(id, depth, 200);
  one.valid_rows = 20;
  one.partitions.assign(8, 10);
  one.epochs_left = 2;
  return one;
}
constexpr Bytes kWindowBytes = (20 + kFeatureSlots * 10) * 1000 + (1 + kFeatureSlots) * kHostGranule;

TEST(SharingPlanTest, OneTrialForOneEpochComputesItsLayers) {
  EXPECT_EQ(plan_sharing({trial("t0", 3, 100)}, SharingBudget{GiB}), SharingPlan());
  EXPECT_EQ(plan_sharing({}, SharingBudget{GiB}), SharingPlan());
}

TEST(SharingPlanTest, SeveralEpochsOrTrialsComputeThemOnce) {
  for (const auto& trials : {std::vector{trial("t0", 3, 300)}, {trial("t0", 3, 100), trial("t1", 3, 100)}}) {
    const SharingPlan plan = plan_sharing(trials, SharingBudget{GiB});
    ASSERT_EQ(plan.prefixes.size(), 1u);
    ASSERT_EQ(plan.prefixes[0].depths.size(), 1u);
    const SharedDepth& depth = plan.prefixes[0].depths[0];
    EXPECT_EQ(depth.end_layer, 3u);
    EXPECT_EQ(plan.first_layer("t0"), 3u);
    EXPECT_EQ(plan.first_layer("t7"), 0u);
    EXPECT_EQ(plan.bytes(), kDepthBytes);
    EXPECT_DOUBLE_EQ(depth.materialise_flops, 3e6 * 100);
    EXPECT_NEAR(plan.materialise_s(), 100 * (3 * 0.01 + 1e-4), 1e-9);
    EXPECT_GT(plan.prefixes[0].gain_s(), 0);
  }
}

TEST(SharingPlanTest, MixedDepthsAreAChain) {
  const SharingPlan plan = plan_sharing(
      {trial("t0", 0, 300), trial("t1", 1, 300), trial("t4", 4, 300), trial("t7", 7, 300)}, SharingBudget{GiB});
  ASSERT_EQ(plan.prefixes.size(), 1u);
  EXPECT_EQ(plan.first_layer("t0"), 0u);
  EXPECT_EQ(plan.first_layer("t1"), 1u);
  EXPECT_EQ(plan.first_layer("t4"), 4u);
  EXPECT_EQ(plan.first_layer("t7"), 7u);
  EXPECT_NEAR(plan.prefixes[0].depths[2].materialise_s, 100 * (3 * 0.01 + 2e-4), 1e-9);
}

TEST(SharingPlanTest, LayersThatAreReadSlowerThanTheyAreComputedAreComputed) {
  auto one = trial("t0", 2, 1000);
  for (auto& layer : one.frozen) layer.read_s = 0.05;
  EXPECT_EQ(plan_sharing({one}, SharingBudget{GiB}), SharingPlan());
}

TEST(SharingPlanTest, ThePrefixThatSavesMoreChoosesFirst) {
  const std::vector trials{trial("t0", 2, 300, "a"), trial("t1", 6, 300, "b")};
  const SharingPlan plan = plan_sharing(trials, SharingBudget{kDepthBytes});
  EXPECT_EQ(plan.first_layer("t0"), 0u);
  EXPECT_EQ(plan.first_layer("t1"), 6u);
  EXPECT_EQ(plan_sharing(trials, SharingBudget{kDepthBytes - 1}), SharingPlan());
  EXPECT_EQ(plan_sharing(trials, SharingBudget{2 * kDepthBytes}).prefixes.size(), 2u);
}

TEST(SharingPlanTest, TrialsOfOtherPartitionsShareWholeDataSetsOnly) {
  std::vector trials{in_partitions("t0", 3), in_partitions("t1", 3), in_partitions("t2", 3), in_partitions("t3", 3)};
  trials[2].order = trials[3].order = 7;
  const SharingPlan whole = plan_sharing(trials, SharingBudget{GiB, GiB});
  ASSERT_EQ(whole.prefixes.size(), 1u);
  EXPECT_EQ(whole.prefixes[0].depths[0].trials.size(), 4u);
  EXPECT_EQ(whole.prefixes[0].depths[0].tier, FeatureTier::host);
  const Bytes window = kWindowBytes + 3 * HostBuffer::rounded(5000);
  const SharingPlan split = plan_sharing(trials, SharingBudget{window, GiB});
  ASSERT_EQ(split.prefixes.size(), 1u) << "room for one order's";
  EXPECT_EQ(split.prefixes[0].depths[0].trials.size(), 2u);
}

/// Seconds gained when materialising exactly these depths, by the definition.
double gain_of(const std::vector<SharingTrial>& trials, const std::vector<std::uint32_t>& depths,
               const std::vector<SharingTrial::FrozenLayer>& layers) {
  double gain = 0;
  std::uint32_t from = 0;
  for (const auto to : depths) {
    double row_s = layers[to - 1].read_s + (from > 0 ? layers[from - 1].read_s : 0);
    for (std::uint32_t l = from; l < to; ++l) row_s += layers[l].pass_s;
    gain -= row_s * static_cast<double>(trials[0].rows);
    from = to;
  }
  for (const auto& trial : trials) {
    std::uint32_t begin = 0;
    for (const auto depth : depths)
      if (depth <= trial.frozen.size()) begin = depth;
    double row_s = begin > 0 ? -layers[begin - 1].read_s : 0;
    for (std::uint32_t l = 0; l < begin; ++l) row_s += layers[l].pass_s;
    gain += row_s * static_cast<double>(trial.rows_left);
  }
  return gain;
}

/// The same for depths 1 to 3, each nowhere (0), in the host tier (1), on disk (2) or passed through once an epoch (3);
/// minus infinity beyond the budget. Trials of in_partitions() below.
double gain_of_tiers(const std::vector<SharingTrial>& trials, const std::vector<int>& tiers,
                     const SharingBudget& budget) {
  constexpr double kRow = 0.01, kRead = 1e-4;
  double gain = 0;
  Bytes host = 0, disk = 0, layers = 0;
  std::uint32_t last = 0, whole = 0;
  for (std::uint32_t depth = 1; depth <= 3; ++depth) {
    const int tier = tiers[depth - 1];
    const bool wanted =
        std::any_of(trials.begin(), trials.end(), [&](const auto& one) { return one.frozen.size() == depth; });
    if (tier == 0) continue;
    if (!wanted) return -std::numeric_limits<double>::infinity();
    const std::uint32_t from = tier == 1 ? whole : last;
    gain -= ((depth - from) * kRow + kRead + (from > 0 ? kRead : 0)) * (tier == 3 ? 180 : 100);
    host += tier == 1 ? 100'000 + 2 * kHostGranule : 40'000 + 3 * kHostGranule;
    if (tier != 1) layers = depth * HostBuffer::rounded(5000);
    if (tier == 2) {
      gain -= 80'000 / budget.disk_read_bytes_per_s + 80'000 / budget.disk_write_bytes_per_s;
      disk += 80'000 + 80'000 / 4096 + 8 * 64 * KiB;
    }
    last = depth;
    if (tier == 1) whole = depth;
  }
  if (host + layers > budget.host || disk > budget.disk) return -std::numeric_limits<double>::infinity();
  for (const auto& one : trials)
    for (auto depth = static_cast<std::uint32_t>(one.frozen.size()); depth > 0; --depth)
      if (tiers[depth - 1] != 0) {
        gain += (depth * kRow - kRead) * 200;
        break;
      }
  return gain;
}

TEST(SharingPlanTest, NoChoiceWithinTheBudgetSavesMore) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    KeyedStream draw(seed);
    std::vector<SharingTrial::FrozenLayer> layers;
    for (int l = 0; l < 7; ++l)
      layers.push_back({1e-4 * static_cast<double>(1 + draw.below(100)), 1e6,
                        1e-4 * static_cast<double>(draw.below(60)), 1000, 5000});
    std::vector<SharingTrial> trials;
    std::set<std::uint32_t> depths;
    for (std::uint64_t t = 0; t < 1 + draw.below(9); ++t) {
      const auto depth = static_cast<std::uint32_t>(draw.below(8));
      trials.push_back(trial(text::cat("t", t), 0, draw.below(400), "p"));
      trials.back().frozen.assign(layers.begin(), layers.begin() + depth);
      if (depth > 0) depths.insert(depth);
    }
    const std::vector<std::uint32_t> all(depths.begin(), depths.end());
    for (std::size_t slots = 0; slots <= all.size(); ++slots) {
      double best = 0;
      for (std::uint32_t mask = 0; mask < 1u << all.size(); ++mask) {
        std::vector<std::uint32_t> chosen;
        for (std::size_t i = 0; i < all.size(); ++i)
          if (mask >> i & 1) chosen.push_back(all[i]);
        if (chosen.size() <= slots) best = std::max(best, gain_of(trials, chosen, layers));
      }
      const SharingPlan plan = plan_sharing(trials, SharingBudget{slots * kDepthBytes});
      EXPECT_LE(plan.bytes(), slots * kDepthBytes);
      EXPECT_NEAR(plan.prefixes.empty() ? 0 : plan.prefixes[0].gain_s(), best, 1e-9) << seed << " slots " << slots;
    }
  }
}

TEST(SharingPlanTest, WhatHasNoRoomInHostMemoryGoesToDiskOrIsPassedThroughOnceAnEpoch) {
  const std::vector trials{in_partitions("t0", 3), in_partitions("t1", 3)};
  const Bytes layers = 3 * HostBuffer::rounded(5000);
  SharingBudget budget{GiB, GiB, 1e9, 1e9};
  const auto depth_at = [&](Bytes host, Bytes disk) {
    budget.host = host, budget.disk = disk;
    const SharingPlan plan = plan_sharing(trials, budget);
    return plan.prefixes.empty() ? SharedDepth() : plan.prefixes[0].depths.at(0);
  };
  EXPECT_EQ(depth_at(GiB, GiB).tier, FeatureTier::host);
  const SharedDepth disk = depth_at(kWindowBytes + layers, GiB);
  EXPECT_EQ(disk.tier, FeatureTier::disk);
  EXPECT_EQ(disk.bytes, kWindowBytes + layers);
  EXPECT_GE(disk.disk_bytes, 80'000u);
  EXPECT_NEAR(disk.disk_s, 2 * 80'000 / 1e9, 1e-12) << "written once, read in the second epoch";
  EXPECT_NEAR(disk.materialise_s, 100 * (3 * 0.01 + 1e-4), 1e-9);
  EXPECT_EQ(depth_at(kWindowBytes + layers, disk.disk_bytes - 1).tier, FeatureTier::fused);
  const SharedDepth fused = depth_at(kWindowBytes + layers, 0);
  EXPECT_EQ(fused.tier, FeatureTier::fused);
  EXPECT_NEAR(fused.materialise_s, 180 * (3 * 0.01 + 1e-4), 1e-9) << "training rows in each epoch";
  EXPECT_EQ(depth_at(kWindowBytes + layers - 1, GiB), SharedDepth());
  EXPECT_EQ(least_host_bytes(trials, {0, GiB, 1e9, 1e9}), kWindowBytes + layers);
  budget.disk_read_bytes_per_s = 1e3;  // slower than computing
  EXPECT_EQ(depth_at(kWindowBytes + layers, GiB).tier, FeatureTier::fused);
}

TEST(SharingPlanTest, APassForOneTrialSavesNothing) {
  std::vector alone{in_partitions("t0", 3)};
  alone[0].valid_rows = 0;
  alone[0].partitions.assign(10, 10);
  EXPECT_EQ(plan_sharing(alone, SharingBudget{kWindowBytes + 32 * KiB, 0}), SharingPlan());
  EXPECT_EQ(least_host_bytes({trial("t0", 3, 100)}, SharingBudget{}), std::nullopt);
}

TEST(SharingPlanTest, NoChoiceOfTiersWithinTheBudgetSavesMore) {
  std::set<FeatureTier> seen;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    KeyedStream draw(seed);
    std::vector<SharingTrial> trials;
    for (std::uint64_t t = 0; t < 2 + draw.below(5); ++t)
      trials.push_back(in_partitions(text::cat("t", t), static_cast<std::uint32_t>(1 + draw.below(3))));
    const SharingBudget budget{kWindowBytes / 2 * (1 + draw.below(8)), MiB * draw.below(2), 1e6, 1e6};
    const SharingPlan plan = plan_sharing(trials, budget);
    EXPECT_LE(plan.bytes(), budget.host);
    EXPECT_LE(plan.disk_bytes(), budget.disk);
    for (const auto& prefix : plan.prefixes)
      for (const auto& depth : prefix.depths) seen.insert(depth.tier);
    double best = 0;
    for (int choice = 0; choice < 64; ++choice) {
      const double gain = gain_of_tiers(trials, {choice % 4, choice / 4 % 4, choice / 16}, budget);
      best = std::max(best, gain);
    }
    EXPECT_NEAR(plan.prefixes.empty() ? 0 : plan.prefixes[0].gain_s(), best, 1e-9) << seed;
  }
  EXPECT_EQ(seen.size(), 3u);
}

TEST(SharingPlanTest, RunsBringEachLayerInOnceAndFitTheirDevice) {
  const fakes::SmallWorld world(fakes::kTinyBert);
  fakes::TrialToRun one;
  one.source = world.source(ModelTask::sequence_classification, 5);
  one.train.batch_size = 4;
  one.train.micro_batch_size = 2;
  TrialSetup setup = fakes::trial_setup(world, one, 0, {});
  setup.limits.load_bytes_per_s = setup.limits.store_bytes_per_s = 1e9;
  for (const Bytes memory : {64 * MiB, 120 * KiB, 40 * KiB})
    for (const Bytes host : {64 * MiB, 80 * KiB}) {
      setup.limits.memory = memory;
      const auto runs = materialising_runs(setup, 1, 5, host);
      EXPECT_EQ(runs.size() == 1, memory == 64 * MiB && host == 64 * MiB) << memory << " " << host;
      std::uint32_t next = 1;
      for (const auto& run : runs) {
        EXPECT_EQ(run.first_layer, next);
        next = end_layer(run);
        ASSERT_EQ(run.plan.shards.size(), 1u);
        EXPECT_EQ(run.plan.shards[0].begin, run.first_layer);
        EXPECT_EQ(run.plan.shards[0].end, next);
        EXPECT_EQ(run.train.batch_size, 2u);
        EXPECT_EQ(trial_overhead_bytes(run), 0u);
      }
      EXPECT_EQ(next, 5u);
    }
}

}  // namespace
}  // namespace hopyard
