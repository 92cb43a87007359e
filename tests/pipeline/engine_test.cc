// Cut equals whole: the digest after training, with dropout on, does not depend on how the engine went about it.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <set>

#include "fakes/small_world.h"
#include "fakes/trial_home.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;

class EngineTest : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  TrialToRun trial_of(std::shared_ptr<ModelSource> source) const {
    TrialToRun trial;
    trial.source = std::move(source);
    trial.train.batch_size = 4;
    trial.train.micro_batch_size = 2;
    trial.train.precision = GetParam();
    if (GetParam() == Precision::fp16) fakes::skip_some_steps(trial.train);
    return trial;
  }

  TrialToRun bert_trial(const SmallWorld& world, std::int64_t freeze = 0) const {
    TrialToRun trial = trial_of(world.source(ModelTask::sequence_classification, freeze));
    trial.train.schedule = {ScheduleSpec::Kind::linear, 0.2};
    return trial;
  }

  /// In float32 steps of one pass and of two; of the types of half the size each has one.
  static std::vector<bool> clippings() {
    return GetParam() == Precision::fp32 ? std::vector{false, true} : std::vector{GetParam() == Precision::fp16};
  }

  /// Updating where tasks compute, and on the host beside them. A trial that is cut and updates in a second pass does
  /// so on the host either way.
  void expect_whole(const std::string& whole, const SmallWorld& world, TrialToRun trial, const EngineSetup& setup,
                    const std::string& what) {
    const bool on_host_anyway = is_two_pass(trial.train) && !setup.cuts.empty();
    for (const auto place : {UpdatePlace::device, UpdatePlace::host}) {
      if (place == UpdatePlace::host && on_host_anyway) continue;
      trial.train.update = place;
      expect_outcome(whole, world, trial, setup, text::cat(what, place == UpdatePlace::host ? ", host" : ""));
    }
  }

 private:
  /// Computing forward passes twice, and keeping what they saved, which a model that is whole does anyway.
  void expect_outcome(const std::string& whole, const SmallWorld& world, const TrialToRun& trial, EngineSetup setup,
                      const std::string& what) {
    for (const bool keep : {false, true}) {
      if (!keep && setup.cuts.empty()) continue;
      setup.execute.keep_activations = keep;
      MemoryDiskTier disk;
      const auto result = fakes::train(world, {trial}, setup, disk);
      EXPECT_EQ(result.outcomes[0], whole) << what << (keep ? ", kept" : ", recomputed");
      std::uint64_t spared = 0;
      for (const auto& device : result.devices) {
        EXPECT_LE(device.memory_peak, device.memory_budget) << what;
        spared += device.spared_forwards;
      }
      EXPECT_LE(result.host_peak, setup.host_memory) << what;
      if (keep && setup.cuts.size() > 2) {
        EXPECT_GT(spared, 0u) << what;
      } else if (!keep || setup.cuts.empty()) {
        EXPECT_EQ(spared, 0u) << what;
      }
    }
  }
};

/// What loss_scale_steps_test asks of fp16 by itself, of each family.
class CutEngineTest : public EngineTest {};

TEST_P(CutEngineTest, OneShardEqualsWhole) {
  const SmallWorld world(fakes::kTinyBert);
  const auto trial = bert_trial(world);
  const std::string whole = fakes::train_whole(world, trial);
  for (const bool emulated : {false, true}) {
    EngineSetup setup;
    setup.emulated = emulated;
    expect_whole(whole, world, trial, setup, emulated ? "emulated" : "cpu");
  }
}

TEST_P(CutEngineTest, EveryTwoShardCutEqualsWhole) {
  const SmallWorld world(fakes::kTinyBert);
  const auto trial = bert_trial(world);
  const std::string whole = fakes::train_whole(world, trial);
  for (const bool emulated : {false, true})
    for (std::uint32_t cut = 1; cut < 6; ++cut) {
      EngineSetup setup;
      setup.emulated = emulated;
      setup.cuts = {cut};
      expect_whole(whole, world, trial, setup, text::cat(emulated, " cut at ", cut));
    }
}

TEST_P(EngineTest, OneLayerPerShardEqualsWhole) {
  const SmallWorld world(fakes::kTinyBert);
  const auto trial = bert_trial(world);
  const std::string whole = fakes::train_whole(world, trial);
  for (const bool emulated : {false, true})
    for (const bool double_buffer : {true, false})
      for (const double share : {1.0, 0.3}) {
        EngineSetup setup;
        setup.emulated = emulated;
        setup.cuts = {1, 2, 3, 4, 5};
        setup.execute.double_buffer = double_buffer;
        setup.window_share = share;
        expect_whole(whole, world, trial, setup, text::cat(emulated, double_buffer, share));
      }
}

TEST_P(CutEngineTest, FrozenLayersEqualWhole) {
  const SmallWorld world(fakes::kTinyBert);
  for (const std::int64_t freeze : {1, 3}) {
    const auto trial = bert_trial(world, freeze);
    const std::string whole = fakes::train_whole(world, trial);
    for (const bool in_window : {false, true})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {2}, {1, 2, 3, 4, 5}}) {
        EngineSetup setup;
        setup.cuts = cuts;
        setup.frozen_in_window = in_window;
        expect_whole(whole, world, trial, setup, text::cat(freeze, in_window, cuts.size()));
      }
  }
}

TEST_P(CutEngineTest, ClippedStepsEqualWhole) {
  const SmallWorld world(fakes::kTinyBert);
  auto trial = bert_trial(world);
  trial.train.clip_norm = 0.05;
  const std::string whole = fakes::train_whole(world, trial);
  for (const bool emulated : {false, true})
    for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {2}, {1, 2, 3, 4, 5}}) {
      EngineSetup setup;
      setup.emulated = emulated;
      setup.cuts = cuts;
      expect_whole(whole, world, trial, setup, text::cat(emulated, cuts.size()));
    }
}

TEST_P(EngineTest, SgdWithMomentumEqualsWhole) {
  const SmallWorld world(fakes::kTinyBert);
  auto trial = bert_trial(world);
  trial.train.optimizer.kind = OptimizerSpec::Kind::sgd;
  trial.train.optimizer.momentum = 0.9;
  EngineSetup setup;
  setup.cuts = {1, 3};
  expect_whole(fakes::train_whole(world, trial), world, trial, setup, "momentum");
  trial.train.optimizer.momentum = 0;
  expect_whole(fakes::train_whole(world, trial), world, trial, setup, "no moments at all");
}

TEST_P(CutEngineTest, TiedParametersEqualWhole) {
  const SmallWorld world(fakes::kTinyGpt2);
  for (const bool clipped : {false, true}) {
    TrialToRun trial = trial_of(world.source(ModelTask::causal_lm));
    if (clipped) trial.train.clip_norm = 0.1;
    const std::string whole = fakes::train_whole(world, trial);
    for (const bool emulated : {false, true})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {1}, {4}, {1, 2, 3, 4}}) {
        EngineSetup setup;
        setup.emulated = emulated;
        setup.cuts = cuts;
        setup.window_share = 0.5;
        expect_whole(whole, world, trial, setup, text::cat(emulated, clipped, cuts.size()));
      }
  }
}

TEST_P(EngineTest, InterleavedTrialsEqualEachAlone) {
  const SmallWorld world(fakes::kTinyBert);
  std::vector<TrialToRun> trials;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    trials.push_back(bert_trial(world, seed % 2 == 0 ? 3 : 0));
    trials.back().seed = seed;
    trials.back().train.optimizer.lr = 1e-3 * static_cast<double>(seed);
  }
  std::vector<std::string> alone;
  for (const auto& trial : trials) alone.push_back(fakes::train_whole(world, trial));
  std::vector<SchedulerKind> schedulers{SchedulerKind::lrtf, SchedulerKind::random};
  if (GetParam() == Precision::fp32)  // the type takes no part in who is next
    schedulers.assign(std::begin(kSchedulerKinds), std::end(kSchedulerKinds));
  for (const auto scheduler : schedulers)
    for (const std::uint32_t devices : {1u, 2u})
      for (const bool emulated : {false, true})
        for (const bool interleave : {true, false}) {
          EngineSetup setup;
          setup.cuts = {1, 3};
          setup.devices = devices;
          setup.emulated = emulated;
          setup.execute.scheduler = scheduler;
          setup.execute.interleave = interleave;
          MemoryDiskTier disk;
          const auto result = fakes::train(world, trials, setup, disk);
          for (std::size_t i = 0; i < trials.size(); ++i)
            EXPECT_EQ(result.outcomes[i], alone[i]) << "trial " << i << ", " << to_string(scheduler) << ", devices "
                                                    << devices << (emulated ? " emulated" : " cpu");
        }
}

TEST_P(EngineTest, LookingFurtherAheadGivesTheSameBits) {
  const SmallWorld bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const bool clipped : clippings())
    for (const bool tied : {false, true}) {
      const SmallWorld& world = tied ? gpt2 : bert;
      std::vector<TrialToRun> trials(3, bert_trial(bert));
      std::vector<std::string> alone;
      for (std::size_t i = 0; i < trials.size(); ++i) {
        trials[i].source = tied ? world.source(ModelTask::causal_lm)
                                : world.source(ModelTask::sequence_classification, i == 1 ? 3 : 0);
        trials[i].seed = i;
        if (clipped) trials[i].train.clip_norm = 0.05;
        alone.push_back(fakes::train_whole(world, trials[i]));
      }
      const bool all = GetParam() == Precision::fp32;  // the type takes no part in how far ahead is looked
      for (const std::uint32_t lookahead : all ? std::vector{1u, 2u, 3u, 8u, 64u} : std::vector{1u, 8u})
        for (const std::uint32_t devices : {1u, 2u})
          for (const bool ample : {true, false}) {
            EngineSetup setup;
            setup.cuts = {1, 3};
            setup.devices = devices;
            setup.device_memory = ample ? 64 * MiB : 700 * KiB;
            setup.link_bytes_per_s = ample ? 5e8 : 4e9;
            setup.execute.lookahead = lookahead;
            MemoryDiskTier disk;
            const auto result = fakes::train(world, trials, setup, disk);
            for (std::size_t i = 0; i < trials.size(); ++i)
              EXPECT_EQ(result.outcomes[i], alone[i])
                  << text::cat("trial ", i, ", lookahead ", lookahead, ", ", devices, " devices, ample ", ample,
                               ", tied ", tied, ", clipped ", clipped);
            for (const auto& device : result.devices) EXPECT_LE(device.memory_peak, setup.device_memory);
          }
    }
}

TEST_P(EngineTest, WhatIsKeptGoesWhenItsRoomIsNeeded) {
  const SmallWorld bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const bool tied : {false, true}) {
    const SmallWorld& world = tied ? gpt2 : bert;
    std::vector<TrialToRun> trials(3, bert_trial(bert));
    std::vector<std::string> whole;
    for (std::size_t i = 0; i < trials.size(); ++i) {
      trials[i].source =
          tied ? world.source(ModelTask::causal_lm) : world.source(ModelTask::sequence_classification, i == 1 ? 2 : 0);
      trials[i].seed = i;
      whole.push_back(fakes::train_whole(world, trials[i]));
    }
    std::set<std::uint64_t> spared;
    for (const std::uint32_t devices : {1u, 2u})
      for (Bytes memory = 600 * KiB; memory < 3 * MiB; memory += memory / (GetParam() == Precision::fp32 ? 8 : 4)) {
        EngineSetup setup;
        setup.cuts = {1, 2, 3};
        setup.devices = devices;
        setup.device_memory = memory;
        MemoryDiskTier disk;
        const auto result = fakes::train(world, trials, setup, disk);
        std::uint64_t sum = 0;
        for (const auto& device : result.devices) {
          EXPECT_LE(device.memory_peak, memory);
          sum += device.spared_forwards;
        }
        spared.insert(sum);
        for (std::size_t i = 0; i < trials.size(); ++i)
          EXPECT_EQ(result.outcomes[i], whole[i]) << text::cat("trial ", i, ", tied ", tied, ", memory ", memory);
      }
    // Where steps have two passes no moments come to a device: fewer of these budgets are tight.
    EXPECT_GT(spared.size(), is_two_pass(trials[0].train) ? 1u : 3u)
        << "no budget at which only some forward passes were kept";
  }
}

TEST_P(EngineTest, RunningOutOfMemoryCutsAndGivesTheSameBits) {
  const SmallWorld world(fakes::kTinyBert);
  std::uint64_t recuts = 0;
  int trained = 0;
  for (const bool clipped : clippings()) {
    auto trial = bert_trial(world);
    if (clipped) trial.train.clip_norm = 0.05;
    const std::string expected = fakes::train_whole(world, trial);
    for (const bool emulated : {false, true})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {3}, {1, 4}}) {
        for (const Bytes memory :
             {500 * KiB, 400 * KiB, 320 * KiB, 250 * KiB, 200 * KiB, 160 * KiB, 120 * KiB, 90 * KiB}) {
          EngineSetup setup;
          setup.device_memory = memory;
          setup.emulated = emulated;
          setup.cuts = cuts;
          MemoryDiskTier disk;
          const std::string what =
              text::cat("clipped ", clipped, " emulated ", emulated, " shards ", cuts.size() + 1, " memory ", memory);
          try {
            const auto result = fakes::train(world, {trial}, setup, disk);
            EXPECT_EQ(result.outcomes[0], expected) << what;
            ++trained;
            for (const auto& device : result.devices) {
              EXPECT_LE(device.memory_peak, memory) << what;
              recuts += device.recuts;
            }
          } catch (const Failure& failure) {
            EXPECT_EQ(failure.code(), ExitCode::capacity) << what << failure.what();
            // Above that everything can be cut to fit.
            EXPECT_LT(memory, 400 * KiB) << what << failure.what();
          }
        }
      }
  }
  EXPECT_GT(recuts, 10u * clippings().size());
  EXPECT_GT(trained, static_cast<int>(15 * clippings().size()));
}

TEST_P(CutEngineTest, AClippedTrialThatBeginsWholeIsCutWhileItRuns) {
  const SmallWorld world(fakes::kTinyBert);
  for (const bool emulated : {false, true})
    for (const std::int64_t freeze : {0, 3}) {
      if (!emulated && freeze > 0) continue;  // in host memory its largest layer needs as much as the whole
      auto trial = bert_trial(world, freeze);
      trial.train.clip_norm = 0.05;
      const std::string expected = fakes::train_whole(world, trial);
      std::uint64_t recuts = 0;
      for (Bytes memory = 500 * KiB; memory > 60 * KiB && recuts == 0; memory = memory * 15 / 16) {
        EngineSetup setup;
        setup.emulated = emulated;
        setup.device_memory = memory;
        MemoryDiskTier disk;
        const auto result = fakes::train(world, {trial}, setup, disk);
        EXPECT_EQ(result.outcomes[0], expected) << emulated << freeze << memory;
        recuts += result.devices[0].recuts;
      }
      EXPECT_GT(recuts, 0u) << emulated << freeze;
    }
}

TEST_P(EngineTest, AClippedTrialIsCutOnlyWhereItsWindowHoldsTheGradients) {
  // Of the second model's state, the embeddings alone are nearly all: with gradients they are more than the window.
  const char* const kMostlyEmbeddings =
      R"({"model_type":"bert","vocab_size":4000,"hidden_size":32,"num_hidden_layers":1,"num_attention_heads":4,
"intermediate_size":64,"max_position_embeddings":16,"type_vocab_size":2})";
  for (const char* config : {fakes::kTinyBert, kMostlyEmbeddings})
    for (const bool clipped : {false, true}) {
      const SmallWorld world(config);
      auto trial = bert_trial(world);
      if (clipped) trial.train.clip_norm = 0.05;
      fakes::TrialHome home(world, trial);
      const auto made = home.run();
      TrialRun& run = *made;
      run.begin_visit({0, 0, 0, fakes::visit_rows(trial, 0), 0, false});
      const bool fits = !needs_whole_gradient(trial.train) || config == fakes::kTinyBert;
      EXPECT_EQ(run.recut(home.host), fits) << config << clipped;
      EXPECT_EQ(run.setup().plan.shards.size(), fits ? 2u : 1u);
      const auto program = training_program(run.setup());
      for (std::uint32_t i = 0; i < program.size(); ++i) EXPECT_EQ(run.peek(i)->task, program[i]) << config << clipped;
    }
}

TEST_P(EngineTest, NoDeadlockAtAnyBudgetAtWhichATaskFits) {
  const SmallWorld world(fakes::kTinyBert);
  std::vector<TrialToRun> trials{bert_trial(world), bert_trial(world, 3), bert_trial(world)};
  for (std::size_t i = 0; i < trials.size(); ++i) trials[i].seed = i, trials[i].visits = 1;
  std::vector<std::string> whole;
  for (const auto& trial : trials) whole.push_back(fakes::train_whole(world, trial));
  int fitted = 0;
  for (Bytes memory = 120 * KiB; memory < 2 * MiB; memory = memory * 5 / 4)
    for (const double share : {0.0, 0.5}) {  // of the state; at least what one task needs
      EngineSetup setup;
      setup.device_memory = memory;
      setup.devices = 2;
      setup.window_share = share;
      setup.cuts = {1, 3};
      setup.link_bytes_per_s = 1e9;
      MemoryDiskTier disk;
      try {
        const auto result = fakes::train(world, trials, setup, disk);
        ++fitted;
        for (std::size_t i = 0; i < trials.size(); ++i) EXPECT_EQ(result.outcomes[i], whole[i]) << memory;
        for (const auto& device : result.devices) EXPECT_LE(device.memory_peak, memory);
      } catch (const Failure& failure) {
        EXPECT_EQ(failure.code(), ExitCode::capacity) << failure.what();
      }
    }
  EXPECT_GT(fitted, 10);
}

TEST_P(EngineTest, ATrialThatFailsLeavesTheOthersAlone) {
  const SmallWorld world(fakes::kTinyBert);
  std::vector<TrialToRun> trials{bert_trial(world), bert_trial(world)};
  trials[1].train.optimizer.lr = 1e30;
  trials[1].seed = 2;
  EngineSetup setup;
  setup.cuts = {2};
  MemoryDiskTier disk;
  const auto result = fakes::train(world, trials, setup, disk);
  EXPECT_EQ(result.outcomes[0], fakes::train_whole(world, trials[0]));
  EXPECT_EQ(result.errors[0], "");
  EXPECT_NE(result.errors[1].find("not a finite number"), std::string::npos) << result.errors[1];
}

TEST_P(CutEngineTest, PerceptronsEqualWhole) {
  const SmallWorld world(fakes::kTinyMlp);
  for (const bool clipped : {false, true}) {
    TrialToRun trial = trial_of(world.source(ModelTask::sequence_classification));
    if (clipped) trial.train.clip_norm = 0.5;
    const std::string whole = fakes::train_whole(world, trial);
    for (const bool emulated : {false, true})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {1}, {1, 2}}) {
        EngineSetup setup;
        setup.emulated = emulated;
        setup.cuts = cuts;
        expect_whole(whole, world, trial, setup, text::cat(clipped, emulated, cuts.size()));
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, CutEngineTest, ::testing::Values(Precision::fp32, Precision::bf16),
                         [](const auto& info) { return to_string(info.param); });
INSTANTIATE_TEST_SUITE_P(Precisions, EngineTest, ::testing::Values(Precision::fp32, Precision::bf16, Precision::fp16),
                         [](const auto& info) { return to_string(info.param); });

}  // namespace
}  // namespace hopyard
