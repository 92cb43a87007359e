#include "base/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace hopyard {
namespace {

TEST(RngTest, PermutationIsOneAndFollowsFromTheKey) {
  auto order = permutation(1000, 5);
  EXPECT_EQ(order, permutation(1000, 5));
  EXPECT_NE(order, permutation(1000, 6));
  std::sort(order.begin(), order.end());
  for (std::uint32_t i = 0; i < order.size(); ++i) ASSERT_EQ(order[i], i);
}

TEST(RngTest, KeysDoNotCollideWhereCountersAreSmall) {
  std::set<std::uint64_t> keys;
  for (std::uint64_t a = 0; a < 100; ++a)
    for (std::uint64_t b = 0; b < 100; ++b) keys.insert(derive(derive(7, a), b));
  EXPECT_EQ(keys.size(), 10'000u);
}

TEST(RngTest, UniformNumbersAreUniform) {
  KeyedStream stream(11);
  std::vector<int> counts(10);
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) {
    const double x = stream.uniform();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
    ++counts[static_cast<std::size_t>(x * 10)];
  }
  EXPECT_NEAR(sum / 100'000, 0.5, 0.005);
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);
}

TEST(RngTest, BelowStaysBelow) {
  KeyedStream stream(3);
  for (std::uint64_t bound : {1ull, 2ull, 3ull, 1000ull, ~0ull})
    for (int i = 0; i < 1000; ++i) ASSERT_LT(stream.below(bound), bound);
}

}  // namespace
}  // namespace hopyard
