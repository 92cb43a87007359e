// Layers of which some parameters are frozen: cut equals whole, and frozen bytes are there once.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "fakes/small_world.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;
using Names = std::vector<std::string>;
using Cuts = std::vector<std::uint32_t>;

/// As low-rank adapters do it: embeddings frozen whole, a small part of all other layers trained.
const Names kQueries{"query", "classifier"};
/// Layers before, between and behind trained ones are frozen whole.
const Names kOneLayer{"layer.1.", "classifier"};

TrialToRun trial_of(const SmallWorld& world, ModelTask task, Names train_only, std::int64_t freeze = 0) {
  TrialToRun trial;
  trial.source = world.source(task, freeze, std::move(train_only));
  trial.train.batch_size = 4;
  trial.train.micro_batch_size = 2;
  trial.train.schedule = {ScheduleSpec::Kind::linear, 0.2};
  return trial;
}

TrialToRun bert_trial(const SmallWorld& world, Names train_only, std::int64_t freeze = 0) {
  return trial_of(world, ModelTask::sequence_classification, std::move(train_only), freeze);
}

class PartlyFrozenTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  void expect_whole(const SmallWorld& world, const TrialToRun& trial, const EngineSetup& setup,
                    const std::string& what) {
    MemoryDiskTier disk;
    const auto result = fakes::train(world, {trial}, setup, disk);
    EXPECT_EQ(result.outcomes[0], fakes::train_whole(world, trial)) << what;
    for (const auto& device : result.devices) EXPECT_LE(device.memory_peak, device.memory_budget) << what;
  }

  /// On devices of both kinds, with frozen bytes shared and in the window, clipped and not, kept and recomputed.
  void expect_whole_in_any_way(const SmallWorld& world, TrialToRun trial, const std::vector<Cuts>& all_cuts) {
    for (const auto& [precision, clipped] : {std::pair{Precision::fp32, false},
                                             {Precision::fp32, true},
                                             {Precision::bf16, true},
                                             {Precision::fp16, false}}) {
      trial.train.precision = precision;
      if (precision == Precision::fp16) fakes::skip_some_steps(trial.train);
      trial.train.clip_norm.reset();
      if (clipped) trial.train.clip_norm = 0.05;
      for (const auto& cuts : all_cuts)
        for (const bool emulated : {false, true})
          for (const bool in_window : {false, true})
            for (const bool keep : {false, true}) {
              EngineSetup setup;
              setup.cuts = cuts;
              setup.emulated = emulated;
              setup.frozen_in_window = in_window;
              setup.window_share = in_window ? 0.4 : 1;
              setup.execute.keep_activations = keep;
              expect_whole(world, trial, setup,
                           text::cat(to_string(precision), ", clipped ", clipped, ", shards ", cuts.size() + 1,
                                     ", emulated ", emulated, ", in window ", in_window, ", kept ", keep));
            }
    }
  }
};

TEST_F(PartlyFrozenTest, AFewParametersOfEachLayerEqualWhole) {
  const SmallWorld world(fakes::kTinyBert);
  expect_whole_in_any_way(world, bert_trial(world, kQueries), {{}, {1}, {3}, {1, 2, 3, 4, 5}});
}

TEST_F(PartlyFrozenTest, LayersBetweenTrainedOnesThatAreFrozenWholeEqualWhole) {
  const SmallWorld world(fakes::kTinyBert);
  expect_whole_in_any_way(world, bert_trial(world, kOneLayer), {{}, {2}, {1, 2, 3, 4, 5}});
}

TEST_F(PartlyFrozenTest, BelowWhatIsPartlyFrozenLayersMayBeFrozenWhole) {
  const SmallWorld world(fakes::kTinyBert);
  expect_whole_in_any_way(world, bert_trial(world, kQueries, 3), {{}, {2}, {1, 2, 3, 4, 5}});
}

TEST_F(PartlyFrozenTest, ATiedParameterMayLieInEitherPart) {
  const SmallWorld world(fakes::kTinyGpt2);
  const std::vector<Cuts> cuts{{}, {1}, {4}, {1, 2, 3, 4}};
  expect_whole_in_any_way(world, trial_of(world, ModelTask::causal_lm, {"c_attn"}), cuts);
  expect_whole_in_any_way(world, trial_of(world, ModelTask::causal_lm, {"c_attn", "wte"}), cuts);
}

TEST_F(PartlyFrozenTest, InterleavedTrialsEqualEachAlone) {
  const SmallWorld bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const bool tied : {false, true}) {
    const SmallWorld& world = tied ? gpt2 : bert;
    const ModelTask task = tied ? ModelTask::causal_lm : ModelTask::sequence_classification;
    std::vector<TrialToRun> trials;
    const auto few = tied ? Names{"c_attn"} : kQueries, more = tied ? Names{"c_attn", "ln_"} : kOneLayer;
    for (const auto& names : {few, few, Names{}, more, few}) trials.push_back(trial_of(world, task, names));
    std::vector<std::string> alone;
    for (std::size_t i = 0; i < trials.size(); ++i) {
      trials[i].seed = i < 2 ? 7 : i;  // two hold the same bytes, though there is no checkpoint
      trials[i].train.optimizer.lr = 1e-3 * static_cast<double>(i + 1);
      alone.push_back(fakes::train_whole(world, trials[i]));
    }
    for (const auto scheduler : kSchedulerKinds)
      for (const std::uint32_t devices : {1u, 2u})
        for (const bool in_window : {false, true})
          for (const bool ample : {true, false}) {
            EngineSetup setup;
            setup.cuts = {1, 3};
            setup.devices = devices;
            setup.frozen_in_window = in_window;
            setup.device_memory = ample ? 64 * MiB : 700 * KiB;
            setup.link_bytes_per_s = ample ? 5e8 : 4e9;
            setup.execute.scheduler = scheduler;
            MemoryDiskTier disk;
            const auto result = fakes::train(world, trials, setup, disk);
            for (std::size_t i = 0; i < trials.size(); ++i)
              EXPECT_EQ(result.outcomes[i], alone[i])
                  << text::cat("trial ", i, ", tied ", tied, ", ", to_string(scheduler), ", ", devices,
                               " devices, in window ", in_window, ", ample ", ample);
            for (const auto& device : result.devices) EXPECT_LE(device.memory_peak, setup.device_memory);
          }
  }
}

TEST_F(PartlyFrozenTest, RunningOutOfMemoryCutsAndGivesTheSameBits) {
  const SmallWorld world(fakes::kTinyBert);
  std::uint64_t recuts = 0;
  for (const bool clipped : {false, true}) {
    std::vector<TrialToRun> trials{bert_trial(world, kQueries), bert_trial(world, kQueries)};
    std::vector<std::string> whole;
    for (std::size_t i = 0; i < trials.size(); ++i) {
      if (clipped) trials[i].train.clip_norm = 0.05;
      trials[i].train.optimizer.lr *= static_cast<double>(i + 1);
      whole.push_back(fakes::train_whole(world, trials[i]));
    }
    for (Bytes memory = 400 * KiB; memory > 100 * KiB; memory = memory * 15 / 16) {
      EngineSetup setup;
      setup.device_memory = memory;
      MemoryDiskTier disk;
      try {
        const auto result = fakes::train(world, trials, setup, disk);
        for (std::size_t i = 0; i < trials.size(); ++i) EXPECT_EQ(result.outcomes[i], whole[i]) << memory;
        for (const auto& device : result.devices) {
          EXPECT_LE(device.memory_peak, memory);
          recuts += device.recuts;
        }
      } catch (const Failure& failure) {
        EXPECT_EQ(failure.code(), ExitCode::capacity) << failure.what();
      }
    }
  }
  EXPECT_GT(recuts, 10u);
}

/// A trial's blobs and bytes, without an engine.
struct Held {
  Held(const TrialSetup& setup, HostTier& host, FrozenStore& frozen, DiskTier& disk, IoPool& pool)
      : run(setup, *grant_trial(setup, host, frozen), disk, pool, [] {}) {}
  TrialRun run;
};

class PartlyFrozenStateTest : public PartlyFrozenTest {
 protected:
  TrialSetup setup_of(const TrialToRun& trial, bool in_window = false) {
    EngineSetup setup;
    setup.cuts = {1, 3};
    setup.frozen_in_window = in_window;
    return fakes::trial_setup(world_, trial, 0, setup);
  }
  SmallWorld world_{fakes::kTinyBert};
  HostTier host_{64 * MiB};
  FrozenStore frozen_{host_};
  IoPool pool_{1};
  MemoryDiskTier disk_;
};

TEST_F(PartlyFrozenStateTest, TrialsOfOneBaseHoldOneCopy) {
  world_.give_weights();  // else what is frozen depends on the seed
  auto trial = bert_trial(world_, kQueries);
  const TrialSetup first = setup_of(trial);
  trial.seed = 2;
  trial.train.clip_norm = 1;
  const TrialSetup second = setup_of(trial);
  const auto alone_bytes = [](const TrialSetup& setup) { return setup.window + trial_overhead_bytes(setup); };
  ASSERT_GT(shared_layer_bytes(first), first.window) << "the base is most of it";
  const Held one(first, host_, frozen_, disk_, pool_);
  EXPECT_EQ(host_.used(), alone_bytes(first) + shared_layer_bytes(first));
  const auto layers = shared_layers(second);
  EXPECT_EQ(frozen_.missing_bytes(*second.source, layers, second.seed), 0u);
  const Held two(second, host_, frozen_, disk_, pool_);
  EXPECT_EQ(host_.used(), alone_bytes(first) + alone_bytes(second) + shared_layer_bytes(first));
  const TrialSetup deeper = setup_of(bert_trial(world_, kQueries, 3));  // two layers are frozen whole: other bytes
  EXPECT_EQ(shared_layers(deeper).size(), 6u);
  const Bytes missing = frozen_.missing_bytes(*deeper.source, shared_layers(deeper), 1);
  EXPECT_EQ(missing, HostBuffer::rounded(layout_of(deeper, 1, Part::shared).bytes) +
                         HostBuffer::rounded(layout_of(deeper, 2, Part::shared).bytes));
}

TEST_F(PartlyFrozenStateTest, OnlyTheOwnPartIsCommitted) {
  const auto trial = bert_trial(world_, kQueries);
  const TrialSetup setup = setup_of(trial);
  Held held(setup, host_, frozen_, disk_, pool_);
  held.run.initialise();
  const auto state = held.run.cache().commit();
  std::vector<std::uint32_t> blobs;
  for (const auto& place : state) blobs.push_back(place.blob);
  std::sort(blobs.begin(), blobs.end());
  std::vector<std::uint32_t> own;
  for (std::uint32_t l = 1; l < 6; ++l) own.insert(own.end(), {parameters_blob(l), moments_blob(l)});
  EXPECT_EQ(blobs, own);
  EXPECT_LT(disk_.used(), shared_layer_bytes(setup) / 2);
}

TEST_F(PartlyFrozenStateTest, WhatWasCommittedWithSharingIsRestoredWithoutAndBack) {
  const auto trial = bert_trial(world_, kQueries, 2);
  for (const bool in_window : {false, true}) {
    const TrialSetup setup = setup_of(trial, in_window), other = setup_of(trial, !in_window);
    Held held(setup, host_, frozen_, disk_, pool_), restored(other, host_, frozen_, disk_, pool_);
    held.run.initialise();
    const auto state = held.run.cache().commit();
    restored.run.restore(state);
    EXPECT_EQ(restored.run.digest(), held.run.digest());
    const auto is_named = [&](std::uint32_t blob) {
      return std::any_of(state.begin(), state.end(), [&](const auto& place) { return place.blob == blob; });
    };
    EXPECT_EQ(is_named(parameters_blob(0)), in_window) << "frozen whole: as journals have it since ever";
    EXPECT_EQ(is_named(3 * 6 + 2), in_window) << "beside an own part";
    EXPECT_FALSE(is_named(3 * 6 + 0));
  }
}

/// Bytes that go to the devices when trials of one base are trained.
Bytes loaded_bytes(const SmallWorld& world, const std::vector<TrialToRun>& trials, EngineSetup setup, bool in_window) {
  setup.frozen_in_window = in_window;
  MemoryDiskTier disk;
  Bytes loaded = 0;
  for (const auto& device : fakes::train(world, trials, setup, disk).devices) loaded += device.link.loaded;
  return loaded;
}

TEST_F(PartlyFrozenTest, OneLoadOfFrozenBytesServesAllTrials) {
  const SmallWorld world(fakes::kTinyBert);
  world.give_weights();
  std::vector<TrialToRun> trials(6, bert_trial(world, {"query.bias", "classifier"}));
  for (std::size_t i = 0; i < trials.size(); ++i) trials[i].seed = i, trials[i].evaluate = false;
  for (const std::uint32_t devices : {1u, 2u}) {
    EngineSetup setup;
    setup.cuts = {1, 2, 3, 4, 5};
    setup.devices = devices;
    setup.link_bytes_per_s = 5e6;  // a layer takes several times as long as computing it, on a busy machine as well
    const Bytes shared = loaded_bytes(world, trials, setup, false), apart = loaded_bytes(world, trials, setup, true);
    EXPECT_GT(2 * apart, 3 * shared) << devices;  // by as much as trials meet, which others on the machine delay
  }
}

TEST(PartlyFrozenCosts, AreStoredAndUpdatedOnlyForTheOwnPart) {
  const SmallWorld world(fakes::kTinyBert);
  const auto source = world.source(ModelTask::sequence_classification, 0, kQueries);
  TrainSpec train;
  train.batch_size = train.micro_batch_size = 4;
  const auto costs = profile_layers(*source, *world.data, train, unbounded_cpu(1));
  EXPECT_FALSE(costs[0].trainable);
  EXPECT_EQ(costs[0].frozen_bytes, costs[0].parameter_bytes);
  EXPECT_EQ(costs[0].backward_s, 0);
  for (std::uint32_t l = 1; l < costs.size(); ++l) {
    const Bytes own = costs[l].parameter_bytes - costs[l].frozen_bytes;
    EXPECT_TRUE(costs[l].trainable);
    EXPECT_EQ(own, layout_of(source->description().layers[l], Part::own).bytes);
    EXPECT_LT(4 * own, costs[l].frozen_bytes);
    EXPECT_EQ(costs[l].moment_bytes, 2 * own);
    EXPECT_EQ(costs[l].gradient_bytes, own);
    EXPECT_GT(costs[l].backward_s, 0);
  }
  DeviceLimits device;
  device.load_bytes_per_s = device.store_bytes_per_s = 1e9;
  const ShardPlan shard = make_shard(costs, 1, 3, device);
  const Bytes own = 2 * (costs[1].parameter_bytes - costs[1].frozen_bytes);
  EXPECT_EQ(shard.frozen_bytes, 2 * costs[1].frozen_bytes);
  EXPECT_EQ(shard.forward_load_bytes, own + shard.frozen_bytes);
  EXPECT_EQ(shard.backward_load_bytes, 3 * own + shard.frozen_bytes);
  EXPECT_EQ(shard.store_bytes, 3 * own);
}

TEST(PartlyFrozenCosts, WhatLiesBetweenTrainedLayersGoesBack) {
  const SmallWorld world(fakes::kTinyBert);
  const auto source = world.source(ModelTask::sequence_classification, 0, kOneLayer);
  EXPECT_EQ(source->frozen_layers(), 2u);
  TrainSpec train;
  train.batch_size = train.micro_batch_size = 4;
  const auto costs = profile_layers(*source, *world.data, train, unbounded_cpu(1));
  EXPECT_EQ(costs[1].backward_s, 0);
  EXPECT_FALSE(costs[3].trainable);
  EXPECT_GT(costs[3].backward_s, 0);
  EXPECT_EQ(costs[3].moment_bytes + costs[3].gradient_bytes, 0u);
}

}  // namespace
}  // namespace hopyard
