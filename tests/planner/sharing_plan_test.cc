// Which frozen layers are materialised: what saves time, within the budget; exact against trying every choice.
#include <gtest/gtest.h>

#include <set>

#include "base/rng.h"
#include "fakes/small_world.h"
#include "planner/sharing.h"

namespace hopyard {
namespace {

SharingTrial trial(const std::string& id, std::uint32_t depth, std::uint64_t rows_left, const char* prefix = "bert") {
  SharingTrial one{id, prefix, 100, rows_left, {}};
  for (std::uint32_t l = 0; l < depth; ++l) one.frozen.push_back({0.01, 1e6, 1e-4, 1000});
  return one;
}

constexpr Bytes kDepthBytes = 100 * 1000 + 2 * kHostGranule;

TEST(SharingPlanTest, OneTrialForOneEpochComputesItsLayers) {
  EXPECT_EQ(plan_sharing({trial("t0", 3, 100)}, GiB), SharingPlan());
  EXPECT_EQ(plan_sharing({}, GiB), SharingPlan());
}

TEST(SharingPlanTest, SeveralEpochsOrTrialsComputeThemOnce) {
  for (const auto& trials : {std::vector{trial("t0", 3, 300)}, {trial("t0", 3, 100), trial("t1", 3, 100)}}) {
    const SharingPlan plan = plan_sharing(trials, GiB);
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
  const SharingPlan plan =
      plan_sharing({trial("t0", 0, 300), trial("t1", 1, 300), trial("t4", 4, 300), trial("t7", 7, 300)}, GiB);
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
  EXPECT_EQ(plan_sharing({one}, GiB), SharingPlan());
}

TEST(SharingPlanTest, ThePrefixThatSavesMoreChoosesFirst) {
  const std::vector trials{trial("t0", 2, 300, "a"), trial("t1", 6, 300, "b")};
  const SharingPlan plan = plan_sharing(trials, kDepthBytes);
  EXPECT_EQ(plan.first_layer("t0"), 0u);
  EXPECT_EQ(plan.first_layer("t1"), 6u);
  EXPECT_EQ(plan_sharing(trials, kDepthBytes - 1), SharingPlan());
  EXPECT_EQ(plan_sharing(trials, 2 * kDepthBytes).prefixes.size(), 2u);
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

TEST(SharingPlanTest, NoChoiceWithinTheBudgetSavesMore) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    KeyedStream draw(seed);
    std::vector<SharingTrial::FrozenLayer> layers;
    for (int l = 0; l < 7; ++l)
      layers.push_back(
          {1e-4 * static_cast<double>(1 + draw.below(100)), 1e6, 1e-4 * static_cast<double>(draw.below(60)), 1000});
    std::vector<SharingTrial> trials;
    std::set<std::uint32_t> depths;
    for (std::uint64_t t = 0; t < 1 + draw.below(9); ++t) {
      const auto depth = static_cast<std::uint32_t>(draw.below(8));
      trials.push_back({text::cat("t", t), "p", 100, draw.below(400), {layers.begin(), layers.begin() + depth}});
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
      const SharingPlan plan = plan_sharing(trials, slots * kDepthBytes);
      EXPECT_LE(plan.bytes(), slots * kDepthBytes);
      EXPECT_NEAR(plan.prefixes.empty() ? 0 : plan.prefixes[0].gain_s(), best, 1e-9) << seed << " slots " << slots;
    }
  }
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
