#include "hopper/visit_order.h"

#include <gtest/gtest.h>

#include <set>

namespace hopyard {
namespace {

TEST(VisitOrderTest, EveryEpochVisitsEveryPartitionOnce) {
  for (const std::uint32_t partitions : {1u, 4u, 7u})
    for (std::uint64_t seed = 0; seed < 20; ++seed)
      for (std::uint32_t epoch = 0; epoch < 3; ++epoch) {
        std::set<std::uint32_t> visited;
        for (std::uint32_t v = 0; v < partitions; ++v) visited.insert(visited_partition(seed, epoch, v, partitions));
        EXPECT_EQ(visited.size(), partitions);
        EXPECT_LT(*visited.rbegin(), partitions);
      }
}

TEST(VisitOrderTest, SeedsBeginAtDifferentPartitions) {
  std::set<std::uint32_t> first;
  for (std::uint64_t seed = 0; seed < 50; ++seed) first.insert(visited_partition(seed, 0, 0, 4));
  EXPECT_EQ(first.size(), 4u);
}

TEST(VisitOrderTest, AVisitBeyondThePartitionsIsABrokenContract) {
  EXPECT_THROW(visited_partition(1, 0, 4, 4), std::logic_error);
}

}  // namespace
}  // namespace hopyard
