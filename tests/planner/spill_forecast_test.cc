#include "planner/spill_forecast.h"

#include <gtest/gtest.h>

namespace hopyard {
namespace {

TEST(SpillForecastTest, NothingIsWrittenWhenEverythingFits) {
  EXPECT_EQ(spilled_per_round({{{0}, {0}}, {{1}, {1}}}, {10, 10}, 20, 4), 0u);
}

TEST(SpillForecastTest, WhatIsOnlyReadIsNeverWritten) {
  EXPECT_EQ(spilled_per_round({{{0}, {}}, {{1}, {}}}, {10, 10}, 10, 4), 0u);
}

TEST(SpillForecastTest, AWindowOfOneBlobWritesEachChangedBlobOnceARound) {
  EXPECT_EQ(spilled_per_round({{{0}, {0}}, {{1}, {1}}, {{2}, {}}}, {10, 7, 5}, 10, 4), 17u);
}

TEST(SpillForecastTest, KeepsWhatIsNeededSoonest) {
  // Round: 0 1 0 2. With room for two, blob 0 stays and 1 and 2 take turns.
  EXPECT_EQ(spilled_per_round({{{0}, {0}}, {{1}, {1}}, {{0}, {0}}, {{2}, {2}}}, {10, 10, 10}, 20, 4), 20u);
}

TEST(SpillForecastTest, WhatComputesAndWhatComesNextAreNotEvicted) {
  // With room for two of three, Belady alone would write one and a half a round: but the two are pinned.
  EXPECT_EQ(spilled_per_round({{{0}, {0}}, {{1}, {1}}, {{2}, {2}}}, {10, 10, 10}, 20, 0), 30u);
}

TEST(SpillForecastTest, ARoundIsTheMeanOfSeveral) {
  // One blob of five is always absent, and the place where it is missed moves by a few tasks a round.
  std::vector<BlobUse> tasks;
  for (std::uint32_t i = 0; i < 5; ++i) tasks.push_back({{i}, {i}});
  const Bytes mean = spilled_per_round(tasks, {600, 600, 600, 600, 600}, 2400, 0);
  EXPECT_EQ(mean, 1500u) << "two in one round, three in the next";
}

TEST(SpillForecastTest, PrefetchingFurtherNeverWritesLess) {
  // Forward 0 1 2 3 and back, with moments (4 to 7) on the way back, of which those of the first layer are large.
  const std::vector<Bytes> bytes{48, 7, 14, 21, 95, 14, 28, 42};
  std::vector<BlobUse> tasks{{{0}, {}}, {{1}, {}}, {{2}, {}}};
  for (std::uint32_t i = 4; i-- > 0;) tasks.push_back({{i, i + 4}, {i, i + 4}});
  Bytes before = 0;
  for (const std::uint32_t prefetch_tasks : {0u, 1u, 2u, 4u}) {
    const Bytes spilled = spilled_per_round(tasks, bytes, 236, prefetch_tasks);
    EXPECT_GE(spilled, before) << prefetch_tasks;
    before = spilled;
  }
  EXPECT_GT(before, 269u - 236u);
  EXPECT_LT(before, 269u) << "a blob is written at most once a round";
}

}  // namespace
}  // namespace hopyard
