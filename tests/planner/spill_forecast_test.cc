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

}  // namespace
}  // namespace hopyard
