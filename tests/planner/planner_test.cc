#include "planner/planner.h"

#include <gtest/gtest.h>

#include "fakes/failure_of.h"
#include "fakes/small_world.h"

namespace hopyard {
namespace {

class PlannerTest : public ::testing::Test {
 protected:
  TrialSetup setup(std::int64_t freeze = 0) const {
    TrialSetup setup;
    setup.id = "t00";
    setup.source = world_.source(ModelTask::sequence_classification, freeze);
    setup.train_data = setup.valid_data = world_.data;
    setup.train.batch_size = setup.train.micro_batch_size = 4;
    return setup;
  }
  static PlannerInputs inputs(DeviceSpec::Type type, Bytes device, Bytes host) {
    PlannerInputs inputs;
    inputs.devices = {{type, 2, device, 0, type == DeviceSpec::Type::cpu ? 0 : 1e9, 1e-5, 1}};
    inputs.host_memory = host;
    inputs.disk_capacity = GiB;
    return inputs;
  }
  fakes::SmallWorld world_{fakes::kTinyBert};
};

TEST_F(PlannerTest, LargeDeviceKeepsTheModelWhole) {
  Planner planner(inputs(DeviceSpec::Type::emulated, 64 * MiB, 64 * MiB));
  TrialSetup trial = setup();
  planner.plan(trial);
  EXPECT_EQ(trial.plan.shards.size(), 1u);
  EXPECT_EQ(trial.window, trial_state_bytes(trial));
}

TEST_F(PlannerTest, SmallDeviceCuts) {
  Planner planner(inputs(DeviceSpec::Type::emulated, 500 * KiB, 64 * MiB));
  TrialSetup trial = setup();
  planner.plan(trial);
  EXPECT_GT(trial.plan.shards.size(), 1u);
  EXPECT_LE(trial.plan.peak_bytes, 500 * KiB);
}

TEST_F(PlannerTest, SmallHostTierStreams) {
  Planner planner(inputs(DeviceSpec::Type::emulated, 500 * KiB, 450 * KiB));
  TrialSetup trial = setup();
  planner.plan(trial);
  EXPECT_LT(trial.window, trial_state_bytes(trial));
  EXPECT_GE(trial.window, trial_window_min(trial));
}

TEST_F(PlannerTest, DiskFiguresCountBfloatCopiesThatSpill) {
  PlannerInputs small = inputs(DeviceSpec::Type::emulated, 500 * KiB, 450 * KiB);
  small.execute.share_frozen = false;
  Planner planner(small);
  TrialSetup exact = setup(2), rounded = setup(2);
  rounded.train.precision = Precision::bf16;
  const TrialForecast without = planner.plan(exact), with = planner.plan(rounded);
  ASSERT_LT(rounded.window, trial_state_bytes(rounded));
  ASSERT_TRUE(exact.frozen_in_window && rounded.frozen_in_window);
  EXPECT_EQ(with.disk, without.disk) << "what is committed";
  EXPECT_GT(with.disk, with.state) << "frozen layers of its own are";
  EXPECT_EQ(without.spilled, 0u);
  EXPECT_EQ(with.spilled, derived_bytes(rounded));
  EXPECT_EQ(with.spilled_least, with.spilled - std::min(with.spilled, rounded.window));
  EXPECT_EQ(without.spilled_per_admission, 0u);
  EXPECT_GT(with.spilled_per_admission, 0u);
  Planner roomy(inputs(DeviceSpec::Type::emulated, 500 * KiB, 64 * MiB));
  TrialSetup held = rounded;
  const TrialForecast whole = roomy.plan(held);
  EXPECT_EQ(whole.spilled + whole.spilled_per_admission, 0u);
}

TEST_F(PlannerTest, ALayerLargerThanTheDeviceIsNamedWithItsBytes) {
  Planner planner(inputs(DeviceSpec::Type::emulated, 20 * KiB, 64 * MiB));
  TrialSetup trial = setup();
  const auto sentence = fakes::failure_of(ExitCode::capacity, [&] { planner.plan(trial); });
  EXPECT_NE(sentence.find("layer '"), std::string::npos) << sentence;
  EXPECT_NE(sentence.find("bytes"), std::string::npos) << sentence;
}

TEST_F(PlannerTest, ALayerTooLargeIsRefusedByItsSizesBeforeItIsMeasured) {
  // 8 TiB of embeddings: to measure them would be to run out of memory.
  const fakes::SmallWorld huge(
      R"({"model_type":"bert","vocab_size":268435456,"hidden_size":8192,"num_hidden_layers":1,
"num_attention_heads":4,"intermediate_size":64})");
  TrialSetup trial = setup();
  trial.source = huge.source(ModelTask::sequence_classification);
  const auto refusal = [&](const PlannerInputs& inputs) {
    return fakes::failure_of(ExitCode::capacity, [&] { Planner(inputs).plan(trial); });
  };
  EXPECT_NE(refusal(inputs(DeviceSpec::Type::emulated, GiB, GiB)).find("layer 'embeddings'"), std::string::npos);
  EXPECT_NE(refusal(inputs(DeviceSpec::Type::cpu, 0, GiB)).find("layer 'embeddings'"), std::string::npos);
  EXPECT_NE(refusal(inputs(DeviceSpec::Type::emulated, 1024 * 1024 * GiB, GiB)).find("host tier"), std::string::npos);
  PlannerInputs forced = inputs(DeviceSpec::Type::emulated, GiB, GiB);
  forced.execute.cuts = {1};
  EXPECT_NE(refusal(forced).find("layer 'embeddings'"), std::string::npos);
}

TEST_F(PlannerTest, AHostTierTooSmallIsRefused) {
  Planner planner(inputs(DeviceSpec::Type::emulated, MiB, 20 * KiB));
  TrialSetup trial = setup();
  EXPECT_NE(fakes::failure_of(ExitCode::capacity, [&] { planner.plan(trial); }).find("host"), std::string::npos);
}

TEST_F(PlannerTest, CpuDevicesGetAWorkspaceFromTheHostTier) {
  Planner planner(inputs(DeviceSpec::Type::cpu, 0, 256 * MiB));
  TrialSetup trial = setup();
  planner.plan(trial);
  EXPECT_EQ(trial.plan.shards.size(), 1u);
  EXPECT_GT(planner.cpu_workspace(), 0u);
  EXPECT_EQ(planner.host_for_trials(), 256 * MiB - 2 * planner.cpu_workspace());
}

TEST_F(PlannerTest, FrozenLayersAreSharedWhereTheyFit) {
  Planner planner(inputs(DeviceSpec::Type::emulated, 64 * MiB, 64 * MiB));
  TrialSetup trial = setup(3);
  const TrialForecast forecast = planner.plan(trial);
  EXPECT_FALSE(trial.frozen_in_window);
  EXPECT_GT(forecast.frozen, 0u);
}

TEST(WrittenAnewTest, IsWhatActiveTrialsSpillAndOneCommit) {
  TrialForecast held, spilling, admitted;
  held.state = 15;
  spilling.state = 10;
  spilling.spilled = 3;
  spilling.spilled_per_step = 1;
  admitted.state = 12;
  admitted.spilled = 9;
  admitted.spilled_per_admission = 4;
  EXPECT_EQ(written_anew({held, held}, 2).most, 15u) << "one commit at a time";
  EXPECT_EQ(written_anew({held, spilling, spilling}, 1).most, 15u);
  EXPECT_EQ(written_anew({held, spilling, spilling}, 2).most, 13u + 15u) << "one commits beside what another spills";
  EXPECT_EQ(written_anew({held, spilling, spilling}, 3).most, 13u + 13u + 15u);
  EXPECT_EQ(written_anew({spilling}, 4).most, 13u);
  EXPECT_EQ(written_anew({admitted}, 1).most, 16u) << "what it spilled when it was admitted lies there at its commit";
  EXPECT_EQ(written_anew({admitted, admitted, spilling}, 2).most, 13u + 16u);
  EXPECT_EQ(written_anew({admitted, admitted, spilling}, 3).most, 13u + 4u + 16u);
}

TEST(WrittenAnewTest, AtLeastOneTrialCommitsWithWhatNoWindowHolds) {
  TrialForecast small, streaming;
  small.state = 15;
  streaming.state = 10;
  streaming.spilled = 9;
  streaming.spilled_per_step = 1;
  EXPECT_EQ(written_anew({small, streaming}, 2).least, 15u) << "its window may hold all that is derived";
  streaming.spilled_least = 7;
  EXPECT_EQ(written_anew({small, streaming}, 2).least, 17u);
  EXPECT_EQ(written_anew({}, 1).least, 0u);
  EXPECT_EQ(written_anew({}, 1).most, 0u);
}

TEST(ActiveAtOnceTest, CountsSharedFrozenLayersOnce) {
  TrialForecast forecast;
  forecast.host = 10;
  forecast.frozen = 50;
  EXPECT_EQ(active_at_once({forecast, forecast, forecast}, 80), 3u);
  EXPECT_EQ(active_at_once({forecast, forecast, forecast}, 79), 2u);
}

TEST(ActiveAtOnceTest, CountsEachFormOfFrozenLayers) {
  TrialForecast whole, rounded;
  whole.host = rounded.host = 10;
  whole.frozen = 50;
  rounded.frozen = 25;
  rounded.form = FrozenForm::bf16;
  EXPECT_EQ(active_at_once({whole, rounded, rounded, whole}, 115), 4u);
  EXPECT_EQ(active_at_once({whole, rounded, rounded, whole}, 114), 3u);
  EXPECT_EQ(active_at_once({whole, rounded}, 94), 1u);
}

}  // namespace
}  // namespace hopyard
