// Shared equals unshared: a trial whose first layers' activations come from features has the digest and the scores of
// one that computes them, however the engine went about it.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "fakes/small_world.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;

class SharingTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  /// Batches of 4 in micro-batches of 2; the last of a visit's 13 rows is alone, as is one of 5 validation rows' thirds.
  static TrialToRun trial(const SmallWorld& world, std::int64_t freeze, std::uint32_t first_layer,
                          Task task = Task::sequence_classification) {
    TrialToRun trial;
    trial.source = world.source(task, freeze);
    trial.train.batch_size = 4;
    trial.train.micro_batch_size = 2;
    trial.train.schedule = {ScheduleSpec::Kind::linear, 0.2};
    trial.rows_per_visit = 13;
    trial.first_layer = first_layer;
    return trial;
  }

  static void expect_whole(const SmallWorld& world, const TrialToRun& trial, const EngineSetup& setup,
                           const std::string& what) {
    MemoryDiskTier disk;
    const auto result = fakes::train(world, {trial}, setup, disk);
    EXPECT_EQ(result.outcomes[0], fakes::train_whole(world, trial)) << what;
    for (const auto& device : result.devices) EXPECT_LE(device.memory_peak, device.memory_budget) << what;
    EXPECT_LE(result.host_peak, setup.host_memory) << what;
  }

  const SmallWorld bert_{fakes::kTinyBert}, gpt2_{fakes::kTinyGpt2};
};

TEST_F(SharingTest, FeaturesInPlaceOfLayersGiveTheSameBits) {
  for (const bool emulated : {false, true})
    for (const auto& [freeze, first] : std::vector<std::pair<std::int64_t, std::uint32_t>>{
             {1, 1}, {3, 1}, {3, 2}, {3, 3}, {5, 3}, {5, 5}})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {4}, {1, 2, 3, 4, 5}})
        for (const bool keep : {false, true}) {
          EngineSetup setup;
          setup.emulated = emulated;
          setup.cuts = cuts;
          setup.execute.keep_activations = keep;
          expect_whole(bert_, trial(bert_, freeze, first), setup,
                       text::cat(emulated, " freeze ", freeze, " features ", first, " cuts ", cuts.size(), " ", keep));
        }
}

TEST_F(SharingTest, AHeadTiedToALayerThatIsNotComputedBorrowsItStill) {
  for (const bool emulated : {false, true})
    for (const bool in_window : {false, true})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {3}, {2, 3, 4}}) {
        EngineSetup setup;
        setup.emulated = emulated;
        setup.frozen_in_window = in_window;
        setup.cuts = cuts;
        expect_whole(gpt2_, trial(gpt2_, 2, 2, Task::causal_lm), setup, text::cat(emulated, in_window, cuts.size()));
      }
}

TEST_F(SharingTest, ClippedStepsAndOneMicroBatchGiveTheSameBits) {
  for (const bool emulated : {false, true})
    for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {4}}) {
      auto one = trial(bert_, 3, 3);
      one.train.clip_norm = 0.05;
      one.train.micro_batch_size = 4;
      EngineSetup setup;
      setup.emulated = emulated;
      setup.cuts = cuts;
      expect_whole(bert_, one, setup, text::cat(emulated, cuts.size()));
    }
}

TEST_F(SharingTest, RunningOutOfMemoryBesideFeaturesCutsAndGivesTheSameBits) {
  std::uint64_t recuts = 0;
  for (const bool emulated : {false, true})
    for (Bytes memory = 400 * KiB; memory > 60 * KiB; memory = memory * 7 / 8) {
      const auto one = trial(bert_, 2, 2);
      EngineSetup setup;
      setup.emulated = emulated;
      setup.device_memory = memory;
      MemoryDiskTier disk;
      try {
        const auto result = fakes::train(bert_, {one}, setup, disk);
        EXPECT_EQ(result.outcomes[0], fakes::train_whole(bert_, one)) << emulated << memory;
        EXPECT_LE(result.devices[0].memory_peak, memory);
        recuts += result.devices[0].recuts;
      } catch (const Failure& failure) {
        EXPECT_EQ(failure.code(), ExitCode::capacity) << failure.what();
      }
    }
  EXPECT_GT(recuts, 4u);
}

TEST_F(SharingTest, MixedDepthsInterleavedEqualEachAlone) {
  std::vector<TrialToRun> trials;
  std::vector<std::string> whole;
  for (std::uint32_t depth = 0; depth <= 5; ++depth) {
    trials.push_back(trial(bert_, depth, depth / 2 * 2));  // some compute a frozen layer of their own
    trials.back().seed = depth % 3;
    whole.push_back(fakes::train_whole(bert_, trials.back()));
  }
  for (const bool emulated : {false, true})
    for (const std::uint32_t devices : {1u, 2u})
      for (const Bytes memory : {64 * MiB, 700 * KiB}) {
        EngineSetup setup;
        setup.emulated = emulated;
        setup.devices = devices;
        setup.device_memory = memory;
        setup.cuts = {3};
        MemoryDiskTier disk;
        const auto result = fakes::train(bert_, trials, setup, disk);
        for (std::size_t i = 0; i < trials.size(); ++i)
          EXPECT_EQ(result.outcomes[i], whole[i]) << text::cat(emulated, devices, " ", memory, " trial ", i);
      }
}

}  // namespace
}  // namespace hopyard
