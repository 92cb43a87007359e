// What the executor asks of a link, in which order: exact sequences for one trial, against a recording device.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "fakes/small_world.h"

namespace hopyard {
namespace {

using Labels = std::vector<std::string>;

class ExecutorActionsTest : public ::testing::Test {
 protected:
  /// Two steps of one trial without evaluation.
  void train(fakes::EngineSetup setup, std::int64_t freeze = 0, std::optional<double> clip = std::nullopt) {
    setup.execute.lookahead = lookahead_;
    at::set_num_threads(1);
    fakes::TrialToRun trial;
    trial.source = world_.source(ModelTask::sequence_classification, freeze);
    trial.train.batch_size = trial.train.micro_batch_size = 4;
    trial.train.clip_norm = clip;
    trial.visits = 1;
    trial.rows_per_visit = 8;
    trial.evaluate = false;
    setup.actions = &actions_;
    MemoryDiskTier disk;
    tasks_ = fakes::train(world_, {trial}, setup, disk).devices.at(0).tasks;
  }
  static Labels twice(Labels step) {
    Labels both = step;
    both.insert(both.end(), step.begin(), step.end());
    return both;
  }
  fakes::SmallWorld world_{fakes::kTinyBert};
  fakes::LinkActions actions_;
  std::uint32_t lookahead_ = 1;
  std::uint64_t tasks_ = 0;  ///< that the device computed
};

TEST_F(ExecutorActionsTest, AResidentTrialIsLoadedOnceAndStoredOnce) {
  train({});
  EXPECT_EQ(actions_.loads, (Labels{"t0/s0/backward"}));
  EXPECT_EQ(actions_.stores, (Labels{"t0/write back"}));
}

TEST_F(ExecutorActionsTest, TwoShards) {
  fakes::EngineSetup setup;
  setup.cuts = {3};
  train(setup);
  // Boundaries stay on the device between tasks that follow each other there; the second step's first forward takes
  // over what the first step's last backward left.
  EXPECT_EQ(actions_.loads,
            (Labels{"t0/s0/forward", "t0/s1/backward", "t0/s0/backward", "t0/s1/backward", "t0/s0/backward"}));
  EXPECT_EQ(actions_.stores,
            twice({"t0/s1/backward moments", "t0/s1/backward", "t0/s0/backward moments", "t0/s0/backward"}));
}

TEST_F(ExecutorActionsTest, WithThreeShardsTheFirstBoundaryGoesToTheHostForTheRecompute) {
  fakes::EngineSetup setup;
  setup.cuts = {2, 4};
  setup.execute.keep_activations = false;
  train(setup);
  const Labels step{"t0/s0/forward", "t0/s1/forward", "t0/s2/backward", "t0/s1/backward", "t0/s1/backward activation",
                    "t0/s0/backward"};
  ASSERT_GT(actions_.loads.size(), step.size());
  // What the second step takes over of the first one's bytes depends on when those are home.
  EXPECT_EQ(Labels(actions_.loads.begin(), actions_.loads.begin() + step.size()), step);
  EXPECT_EQ(std::count(actions_.loads.begin(), actions_.loads.end(), "t0/s1/backward activation"), 2);
  EXPECT_EQ(actions_.stores, twice({"t0/boundary", "t0/s2/backward moments", "t0/s2/backward", "t0/s1/backward moments",
                                    "t0/s1/backward", "t0/s0/backward moments", "t0/s0/backward"}));
}

TEST_F(ExecutorActionsTest, WhatAForwardKeptItsBackwardDoesNotLoad) {
  fakes::EngineSetup setup;
  setup.cuts = {2, 4};
  train(setup);
  EXPECT_EQ(std::count(actions_.loads.begin(), actions_.loads.end(), "t0/s1/backward activation"), 0);
  EXPECT_EQ(std::count(actions_.loads.begin(), actions_.loads.end(), "t0/s1/backward"), 2);
}

TEST_F(ExecutorActionsTest, FrozenShardsHaveNoBackwardAndAreNeverStored) {
  fakes::EngineSetup setup;
  setup.cuts = {3};
  train(setup, 3);
  EXPECT_EQ(actions_.loads, (Labels{"t0/s0/forward", "t0/s1/backward", "t0/s0/forward", "t0/s1/backward"}));
  EXPECT_EQ(actions_.stores, twice({"t0/s1/backward moments", "t0/s1/backward"}));
}

TEST_F(ExecutorActionsTest, LookingFurtherAheadAFrozenShardStays) {
  fakes::EngineSetup setup;
  setup.cuts = {3};
  lookahead_ = 3;
  train(setup, 3);
  EXPECT_EQ(actions_.loads, (Labels{"t0/s0/forward", "t0/s1/backward", "t0/s1/backward"}));
}

TEST_F(ExecutorActionsTest, LookingFurtherAheadTheBackwardTakesOverWhatTheForwardRead) {
  fakes::EngineSetup setup;
  setup.cuts = {2, 4};
  lookahead_ = 3;
  train(setup);
  // The boundary that the backward reads again is still there.
  EXPECT_EQ(std::count(actions_.loads.begin(), actions_.loads.end(), "t0/s1/backward activation"), 0);
  EXPECT_EQ(std::count(actions_.loads.begin(), actions_.loads.end(), "t0/s1/backward"), 2);  // for its moments
}

TEST_F(ExecutorActionsTest, WithoutDoubleBufferingALoadWaitsForTheTaskBefore) {
  fakes::EngineSetup setup;
  setup.cuts = {3};
  setup.execute.double_buffer = false;
  train(setup);
  // Nothing is chosen while a task computes, so boundaries go over the link and nothing is taken over.
  EXPECT_EQ(std::count(actions_.loads.begin(), actions_.loads.end(), "t0/s0/forward"), 2);
  EXPECT_EQ(std::count(actions_.stores.begin(), actions_.stores.end(), "t0/boundary"), 4);
}

TEST_F(ExecutorActionsTest, ClippedStepsMoveGradientsOutAndNoMomentsIn) {
  fakes::EngineSetup setup;
  setup.cuts = {3};
  train(setup, 0, 1.0);
  EXPECT_EQ(actions_.stores, (Labels{"t0/s1/backward", "t0/s0/backward", "t0/s1/backward", "t0/s0/backward"}));
  EXPECT_EQ(tasks_, 2u * 3) << "updates are the host's";
}

}  // namespace
}  // namespace hopyard
