#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "data/dataset.h"
#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using testing::HasSubstr;

TEST(Partitions, AreDisjointAndCoverAllRows) {
  for (const std::uint32_t count : {1u, 3u, 4u, 10u}) {
    const Partitions partitions(10, count, 5);
    ASSERT_EQ(partitions.count(), count);
    std::vector<std::uint32_t> all;
    for (std::uint32_t p = 0; p < count; ++p) {
      const auto rows = partitions.order(p, 0);
      EXPECT_EQ(rows.size(), partitions.rows(p));
      EXPECT_LE(rows.size(), 10 / count + 1);
      EXPECT_GE(rows.size(), 10 / count);
      all.insert(all.end(), rows.begin(), rows.end());
    }
    std::sort(all.begin(), all.end());
    std::vector<std::uint32_t> expected(10);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
  }
}

TEST(Partitions, FollowFromTheSeed) {
  const Partitions a(1000, 4, 1), same(1000, 4, 1), other(1000, 4, 2);
  EXPECT_EQ(a.order(2, 3), same.order(2, 3));
  EXPECT_NE(a.order(2, 3), other.order(2, 3));
}

TEST(Partitions, EachEpochHasItsOwnOrderOfTheSameRows) {
  const Partitions partitions(1000, 4, 1);
  auto first = partitions.order(1, 0), second = partitions.order(1, 1);
  EXPECT_NE(first, second);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, second);
}

// Trained models depend on these: a change must be seen.
TEST(Partitions, AreWhatTheyWere) {
  const Partitions partitions(8, 2, 17);
  EXPECT_THAT(partitions.order(0, 0), testing::ElementsAre(2, 3, 6, 0));
  EXPECT_THAT(partitions.order(1, 1), testing::ElementsAre(7, 5, 4, 1));
}

TEST(Partitions, RefuseMorePartsThanRows) {
  EXPECT_THAT(fakes::failure_of(ExitCode::usage, [] { Partitions(3, 4, 1); }),
              HasSubstr("data.partitions: 4 partitions cannot share 3 training rows; give 1 to 3"));
  EXPECT_THAT(fakes::failure_of(ExitCode::usage, [] { Partitions(3, 0, 1); }), HasSubstr("0 partitions"));
}

TEST(BatchCount, KeepsTheLastSmallerBatch) {
  EXPECT_EQ(batch_count(0, 32), 0u);
  EXPECT_EQ(batch_count(32, 32), 1u);
  EXPECT_EQ(batch_count(33, 32), 2u);
  EXPECT_EQ(batch_count(~0ULL, 2), 1ULL << 63);
  EXPECT_THROW(batch_count(1, 0), std::logic_error);
}

}  // namespace
}  // namespace hopyard
