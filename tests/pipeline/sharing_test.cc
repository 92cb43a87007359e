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

class SharingTest : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  /// Batches of 4 in micro-batches of 2; the last of a visit's 13 rows is alone, as is one of 5 validation rows'
  /// thirds.
  static TrialToRun trial(const SmallWorld& world, std::int64_t freeze, std::uint32_t first_layer,
                          ModelTask task = ModelTask::sequence_classification) {
    TrialToRun trial;
    trial.source = world.source(task, freeze);
    trial.train.batch_size = 4;
    trial.train.micro_batch_size = 2;
    trial.train.schedule = {ScheduleSpec::Kind::linear, 0.2};
    trial.rows_per_visit = 13;
    trial.first_layer = first_layer;
    trial.train.precision = GetParam();
    if (GetParam() == Precision::fp16) fakes::skip_some_steps(trial.train);
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

  /// Materialises all rows as the engine does; returns how often a device ran out of memory and cut.
  static std::uint64_t materialise(const SmallWorld& world, const TrialToRun& trial, const EngineSetup& setup,
                                   HostTier& host, Features& input, std::shared_ptr<Features> output) {
    TrialSetup one = fakes::trial_setup(world, trial, 0, setup);
    one.materialise_to = trial.source->frozen_layers();
    one.train.batch_size = one.train.micro_batch_size;
    one.valid_rows = 0;
    one.window = 0;
    one.plan = plan_cuts(one, setup.cuts);
    DeviceSpec spec;
    spec.memory = setup.device_memory;
    spec.link_bytes_per_s = setup.link_bytes_per_s;
    std::vector<std::unique_ptr<Device>> devices;
    devices.push_back(setup.emulated ? make_emulated_device(spec, 0, nullptr) : make_cpu_device(spec, 0, spec.memory));
    IoPool pool(1);
    FrozenStore frozen(host);
    MemoryDiskTier disk;
    Executor executor(setup.execute, 5, std::move(devices), host, nullptr);
    TrialFeatures features;
    if (trial.first_layer > 0) features.train = {std::shared_ptr<Features>(), &input};
    features.output = std::move(output);
    auto run = std::make_shared<TrialRun>(one, *grant_trial(one, host, frozen, std::move(features)), disk, pool,
                                          [&executor] { executor.wake(); });
    Visit visit;
    for (std::uint32_t row = 0; row < world.data->rows(); ++row) visit.rows.push_back(row);
    executor.start_visit(run, visit);
    const auto ended = executor.wait_finished(20);
    require(ended.has_value(), "the engine came to a stop:\n", executor.diagnosis());
    run.reset();
    if (ended->error) std::rethrow_exception(ended->error);
    const auto report = executor.devices().front();
    EXPECT_LE(report.memory_peak, report.memory_budget);
    return report.recuts;
  }

  const SmallWorld bert_{fakes::kTinyBert}, gpt2_{fakes::kTinyGpt2};
};

TEST_P(SharingTest, FeaturesInPlaceOfLayersGiveTheSameBits) {
  for (const bool emulated : {false, true})
    for (const auto& [freeze, first] :
         std::vector<std::pair<std::int64_t, std::uint32_t>>{{1, 1}, {3, 1}, {3, 2}, {3, 3}, {5, 3}, {5, 5}})
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

TEST_P(SharingTest, AHeadTiedToALayerThatIsNotComputedBorrowsItStill) {
  for (const bool emulated : {false, true})
    for (const bool in_window : {false, true})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {3}, {2, 3, 4}}) {
        EngineSetup setup;
        setup.emulated = emulated;
        setup.frozen_in_window = in_window;
        setup.cuts = cuts;
        expect_whole(gpt2_, trial(gpt2_, 2, 2, ModelTask::causal_lm), setup,
                     text::cat(emulated, in_window, cuts.size()));
      }
}

TEST_P(SharingTest, ClippedStepsAndOneMicroBatchGiveTheSameBits) {
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

TEST_P(SharingTest, RunningOutOfMemoryBesideFeaturesCutsAndGivesTheSameBits) {
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

TEST_P(SharingTest, MixedDepthsInterleavedEqualEachAlone) {
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

TEST_P(SharingTest, WhatIsMaterialisedIsWhatTheLayersGive) {
  std::uint64_t recuts = 0;
  for (const bool emulated : {false, true})
    for (const bool in_place : {false, true})
      for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {3}, {2, 3, 4}})
        for (Bytes memory = 600 * KiB; memory > 30 * KiB; memory = memory * 2 / 3) {
          HostTier host(64 * MiB);
          auto deep = trial(bert_, 5, 5), shallow = trial(bert_, 5, in_place ? 2 : 0);
          const auto expected = fakes::features_by_hand(bert_, deep, host).train;
          auto input = std::const_pointer_cast<Features>(fakes::features_by_hand(bert_, shallow, host).train);
          const std::uint32_t rows = bert_.data->rows();
          const Bytes row_bytes = expected->row_bytes();
          auto output = in_place ? input
                                 : std::make_shared<Features>(*host.reserve(Features::bytes_for(rows, row_bytes)), rows,
                                                              row_bytes);
          EngineSetup setup;
          setup.emulated = emulated;
          setup.device_memory = memory;
          setup.cuts = cuts;
          const auto what = text::cat(emulated, in_place, cuts.size(), " ", memory);
          try {
            recuts += materialise(bert_, shallow, setup, host, *output, output);
          } catch (const Failure& failure) {
            EXPECT_EQ(failure.code(), ExitCode::capacity) << what << failure.what();
            EXPECT_LT(memory, 150 * KiB) << what << failure.what();
            continue;
          }
          for (std::uint32_t row = 0; row < rows; ++row)
            EXPECT_EQ(std::memcmp(output->row(row), expected->row(row), row_bytes), 0) << what << " row " << row;
        }
  EXPECT_GT(recuts, 4u);
}

INSTANTIATE_TEST_SUITE_P(Precisions, SharingTest, ::testing::Values(Precision::fp32, Precision::bf16, Precision::fp16),
                         [](const auto& info) { return to_string(info.param); });

}  // namespace
}  // namespace hopyard
