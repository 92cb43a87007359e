#include "select/rigor_optimism.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "select/rigor_draws.h"

namespace hopyard::rigor {
namespace {

using Scores = std::vector<std::vector<double>>;

TEST(SelectionOptimism, TwoExamplesByHand) {
  // Resamples {0, 0} and {1, 1} leave one example out, and select the trial that is wrong on it; {0, 1} leaves none.
  const auto result = selection_optimism(Scores{{1, 0}, {0, 1}}, true, 1, 1'000);
  EXPECT_EQ(result.trials, 2u);
  EXPECT_EQ(result.examples, 2u);
  EXPECT_EQ(result.selected, 0u);
  EXPECT_EQ(result.apparent, 0.5);
  EXPECT_EQ(result.corrected, 0);
  EXPECT_EQ(result.optimism, 0.5);
  EXPECT_EQ(result.optimism_interval, (Interval{0.5, 0.5}));
  EXPECT_NEAR(result.resamples, 500, 80);
}

TEST(SelectionOptimism, OneTrialIsNotFlattered) {
  KeyedStream stream(1);
  const auto result = selection_optimism(Scores{tosses(stream, 0.7, 500)}, true, 1);
  EXPECT_NEAR(result.optimism, 0, 0.005);
  EXPECT_TRUE(result.interval.contains(result.apparent));
  EXPECT_TRUE(result.optimism_interval.contains(0));
}

TEST(SelectionOptimism, AClearWinnerIsNotFlattered) {
  KeyedStream stream(2);
  Scores scores{tosses(stream, 0.95, 400)};
  for (int i = 0; i < 20; ++i) scores.push_back(tosses(stream, 0.6, 400));
  const auto result = selection_optimism(scores, true, 1, 500);
  EXPECT_EQ(result.selected, 0u);
  EXPECT_NEAR(result.optimism, 0, 0.01);
}

TEST(SelectionOptimism, SmallerCanBeBetter) {
  KeyedStream stream(3);
  Scores gains, losses;
  for (int i = 0; i < 10; ++i) {
    gains.push_back(tosses(stream, 0.5, 100));
    losses.push_back(gains.back());
    for (double& value : losses.back()) value = 1 - value;
  }
  const auto gain = selection_optimism(gains, true, 1, 300), loss = selection_optimism(losses, false, 1, 300);
  EXPECT_EQ(gain.selected, loss.selected);
  EXPECT_NEAR(gain.corrected, 1 - loss.corrected, 1e-12);
  EXPECT_NEAR(gain.optimism, loss.optimism, 1e-12);
  EXPECT_NEAR(gain.optimism_interval.low, loss.optimism_interval.low, 1e-12);
  EXPECT_GT(loss.optimism, 0);
}

TEST(SelectionOptimism, FollowsFromTheSeed) {
  KeyedStream stream(4);
  const Scores scores{tosses(stream, 0.5, 50), tosses(stream, 0.5, 50)};
  EXPECT_EQ(selection_optimism(scores, true, 1, 100), selection_optimism(scores, true, 1, 100));
  EXPECT_NE(selection_optimism(scores, true, 1, 100), selection_optimism(scores, true, 2, 100));
}

TEST(SelectionOptimism, RefusesWhatCannotBeSelectedFrom) {
  EXPECT_THROW(selection_optimism({}, true, 1), std::logic_error);
  EXPECT_THROW(selection_optimism(Scores{{1}}, true, 1), std::logic_error);
  EXPECT_THROW(selection_optimism(Scores{{1, 0}, {1}}, true, 1), std::logic_error);
  EXPECT_THROW(selection_optimism(Scores{{1, std::nan("")}}, true, 1), std::logic_error);
}

TEST(SelectionOptimism, TakesTheWinnersCurseOff) {
  // 30 trials that are all right with probability 0.7: the best looks like 0.7 + 2.04 standard errors (the expected
  // maximum of 30 normal draws), and is 0.7.
  constexpr int kExperiments = 300, kTrials = 30, kExamples = 200;
  constexpr double kTrue = 0.7;
  KeyedStream stream(5);
  double apparent = 0, corrected = 0;
  int covered = 0;
  for (int experiment = 0; experiment < kExperiments; ++experiment) {
    Scores scores;
    for (int i = 0; i < kTrials; ++i) scores.push_back(tosses(stream, kTrue, kExamples));
    const auto result = selection_optimism(scores, true, static_cast<std::uint64_t>(experiment), 200);
    apparent += result.apparent / kExperiments;
    corrected += result.corrected / kExperiments;
    covered += result.interval.contains(kTrue);
  }
  EXPECT_NEAR(apparent, kTrue + 2.04 * std::sqrt(kTrue * (1 - kTrue) / kExamples), 0.005);
  EXPECT_NEAR(corrected, kTrue, 0.01);
  EXPECT_GE(covered, 0.95 * kExperiments);
}

}  // namespace
}  // namespace hopyard::rigor
