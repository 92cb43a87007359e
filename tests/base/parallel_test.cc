#include "base/parallel.h"

#include <gtest/gtest.h>

#include <numeric>

namespace hopyard {
namespace {

TEST(ForRanges, EachPlaceIsVisitedOnce) {
  for (const std::size_t count : {0, 1, 7, 100, 1001, 65'537})
    for (const std::size_t grain : {1, 3, 64, 100'000}) {
      std::vector<int> visits(count, 0);
      for_ranges(count, grain, [&](std::size_t begin, std::size_t end) {
        ASSERT_LE(begin, end);
        for (std::size_t i = begin; i < end; ++i) ++visits[i];
      });
      EXPECT_EQ(visits, std::vector<int>(count, 1)) << count << " by " << grain;
    }
}

TEST(ForRanges, ShortWorkStaysOnTheThreadThatAsks) {
  std::thread::id where;
  for_ranges(99, 100, [&](std::size_t, std::size_t) { where = std::this_thread::get_id(); });
  EXPECT_EQ(where, std::this_thread::get_id());
}

}  // namespace
}  // namespace hopyard
