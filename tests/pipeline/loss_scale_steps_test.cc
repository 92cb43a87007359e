// Trials that compute in fp16, some of whose steps are skipped: the bits of a plain loop, however they are run.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "fakes/small_world.h"
#include "fakes/trial_home.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;

class LossScaleSteps : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  static TrialToRun trial_of(const SmallWorld& world, ModelTask task, std::int64_t freeze = 0) {
    TrialToRun trial;
    trial.source = world.source(task, freeze);
    trial.visits = 3;
    trial.train.batch_size = 4;
    trial.train.micro_batch_size = 2;
    fakes::skip_some_steps(trial.train);
    return trial;
  }

  static void expect_whole(const SmallWorld& world, const TrialToRun& trial, const EngineSetup& setup,
                           const std::string& what) {
    MemoryDiskTier disk;
    const auto result = fakes::train(world, {trial}, setup, disk);
    EXPECT_EQ(result.errors[0], "") << what;
    EXPECT_EQ(result.outcomes[0], fakes::train_whole(world, trial)) << what;
    EXPECT_GT(result.skipped_steps[0], 1u) << what;
    EXPECT_LT(result.skipped_steps[0], result.curves[0].size() - 2) << what;
    EXPECT_LE(result.host_peak, setup.host_memory) << what;
    for (const auto& device : result.devices) EXPECT_LE(device.memory_peak, device.memory_budget) << what;
  }
};

TEST_F(LossScaleSteps, CutSpilledAndClippedEqualWhole) {
  const SmallWorld mlp(fakes::kTinyMlp), bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const SmallWorld* world : {&mlp, &bert, &gpt2}) {
    const ModelTask task = world == &gpt2 ? ModelTask::causal_lm : ModelTask::sequence_classification;
    TrialToRun trial = trial_of(*world, task, world == &bert ? 2 : 0);
    const auto layers = static_cast<std::uint32_t>(trial.source->description().layers.size());
    for (const bool clipped : {false, true})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {1}, {1, layers - 1}})
        for (const bool emulated : {false, true})
          for (const double share : {1.0, 0.3})
            for (const UpdatePlace place : {UpdatePlace::device, UpdatePlace::host}) {
              trial.train.clip_norm.reset();
              if (clipped) trial.train.clip_norm = 0.05;
              trial.train.update = place;
              EngineSetup setup;
              setup.cuts = cuts;
              setup.emulated = emulated;
              setup.window_share = share;
              setup.frozen_in_window = share < 1;
              setup.execute.keep_activations = share == 1;
              expect_whole(*world, trial, setup,
                           text::cat(layers, " layers, clipped ", clipped, ", ", cuts.size(), " cuts, emulated ",
                                     emulated, ", share ", share, ", update ", static_cast<int>(place)));
            }
  }
}

TEST_F(LossScaleSteps, InterleavedTrialsHaveScalesOfTheirOwn) {
  const SmallWorld world(fakes::kTinyBert);
  std::vector<TrialToRun> trials;
  for (const double initial : {1.0, 0x1p18, 0x1p20, 0x1p22}) {
    trials.push_back(trial_of(world, ModelTask::sequence_classification));
    trials.back().train.loss_scale.initial = initial;
  }
  for (const std::uint32_t devices : {1u, 2u}) {
    EngineSetup setup;
    setup.cuts = {1, 3, 5};
    setup.devices = devices;
    MemoryDiskTier disk;
    const auto result = fakes::train(world, trials, setup, disk);
    for (std::size_t i = 0; i < trials.size(); ++i) EXPECT_EQ(result.outcomes[i], fakes::train_whole(world, trials[i]));
    EXPECT_EQ(result.skipped_steps[0], 0u);
    EXPECT_GT(result.skipped_steps[3], result.skipped_steps[2]);
  }
}

TEST_F(LossScaleSteps, WhatIsCutWhileItRunsSkipsTheSameSteps) {
  const SmallWorld world(fakes::kTinyGpt2);
  const TrialToRun trial = trial_of(world, ModelTask::causal_lm);
  const std::string expected = fakes::train_whole(world, trial);
  bool any = false;
  for (const Bytes memory : {560 * KiB, 640 * KiB, 720 * KiB, 800 * KiB}) {
    EngineSetup setup;
    setup.device_memory = memory;
    MemoryDiskTier disk;
    const auto result = fakes::train(world, {trial}, setup, disk);
    EXPECT_EQ(result.outcomes[0], expected) << memory;
    any |= result.devices[0].recuts > 0;
  }
  EXPECT_TRUE(any) << "nothing ran out of memory";
}

TEST_F(LossScaleSteps, ScaleIsCommittedWithTheTrial) {
  const SmallWorld world(fakes::kTinyMlp);
  const TrialToRun trial = trial_of(world, ModelTask::sequence_classification);
  EngineSetup engine;
  engine.cuts = {1};
  fakes::TrialHome home(world, trial, engine);
  const TrialSetup& setup = home.setup;
  const auto first = home.run();
  first->initialise();
  auto state = first->commit();
  const auto is_scale = [&](const BlobVersion& place) { return place.blob == loss_scale_blob(setup); };
  ASSERT_EQ(std::count_if(state.begin(), state.end(), is_scale), 1);
  const auto second = home.run();
  second->restore(state);
  EXPECT_EQ(*second->loss_scale(), *first->loss_scale());
  EXPECT_EQ(second->loss_scale()->scale, 0x1p20);
  EXPECT_EQ(blob_bytes(setup, loss_scale_blob(setup)), kLossScaleBytes);
  std::erase_if(state, is_scale);
  EXPECT_THROW(home.run()->restore(state), std::logic_error);
}

TEST_F(LossScaleSteps, BytesAreThoseOfAClippedBf16Trial) {
  const SmallWorld world(fakes::kTinyBert);
  TrialToRun trial = trial_of(world, ModelTask::sequence_classification, 2), other = trial;
  other.train.precision = Precision::bf16;
  other.train.clip_norm = 1;
  for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {2, 4}})
    for (const bool in_window : {false, true}) {
      EngineSetup engine;
      engine.cuts = cuts;
      engine.frozen_in_window = in_window;
      const TrialSetup scaled = fakes::trial_setup(world, trial, 0, engine);
      const TrialSetup clipped = fakes::trial_setup(world, other, 0, engine);
      EXPECT_EQ(trial_state_bytes(scaled), trial_state_bytes(clipped) + HostBuffer::rounded(kLossScaleBytes));
      EXPECT_EQ(trial_window_min(scaled), trial_window_min(clipped));
      EXPECT_EQ(trial_overhead_bytes(scaled), trial_overhead_bytes(clipped));
      EXPECT_EQ(shared_layer_bytes(scaled), shared_layer_bytes(clipped));
      for (std::size_t s = 0; s < scaled.plan.shards.size(); ++s) {
        EXPECT_EQ(scaled.plan.shards[s].forward_load_bytes, clipped.plan.shards[s].forward_load_bytes);
        EXPECT_EQ(scaled.plan.shards[s].backward_load_bytes, clipped.plan.shards[s].backward_load_bytes);
        EXPECT_EQ(scaled.plan.shards[s].store_bytes, clipped.plan.shards[s].store_bytes);
      }
    }
}

/// The first feature of every row becomes one that float16 has no number for.
void spoil_features(SmallWorld& world) {
  const std::string path = world.folder / "data/part-00000.safetensors";
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  std::uint64_t header = 0;
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  const float large = 1e5F;
  for (std::uint32_t row = 0; row < world.data->rows(); ++row) {
    file.seekp(static_cast<std::streamoff>(sizeof header + header + row * 16 * sizeof(float)));
    file.write(reinterpret_cast<const char*>(&large), sizeof large);
  }
  file.close();
  world.data = std::make_shared<Dataset>(world.folder / "data");
}

TEST_F(LossScaleSteps, TrialWhoseGradientsAreNeverFiniteEnds) {
  // tanh of an infinite number is 1 and its slope 0, so that the loss is finite, and 0 · inf is no number.
  SmallWorld world(R"({"model_type":"mlp","input_size":16,"hidden_sizes":[40,24],"activation":"tanh"})");
  spoil_features(world);
  for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {1}}) {
    TrialToRun trial = trial_of(world, ModelTask::sequence_classification);
    trial.evaluate = false;
    trial.train.loss_scale.initial = kLossScaleMin * 4;
    EngineSetup setup;
    setup.cuts = cuts;
    MemoryDiskTier disk;
    const auto result = fakes::train(world, {trial}, setup, disk);
    EXPECT_NE(result.errors[0].find("gradients were not finite numbers at step 3"), std::string::npos)
        << result.errors[0];
    trial.train.loss_scale.initial = 65536;
    MemoryDiskTier other;
    const auto skips = fakes::train(world, {trial}, setup, other);
    EXPECT_EQ(skips.errors[0], "");
    EXPECT_EQ(skips.skipped_steps[0], skips.curves[0].size());
    EXPECT_EQ(skips.outcomes[0], fakes::train_whole(world, trial));
  }
}

}  // namespace
}  // namespace hopyard
