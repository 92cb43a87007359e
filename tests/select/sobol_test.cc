#include "select/sobol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "select/search_world.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using Method = SearchSpec::Method;
using testing::HasSubstr;
using namespace fakes;

double unit(std::uint32_t value) { return static_cast<double>(value) * 0x1.0p-32; }

/// The first points in the Gray-code order, as scipy.stats.qmc.Sobol(scramble=False) 1.17 prints them.
TEST(Sobol, FirstPointsAreThePublishedOnes) {
  const double expected[8][6] = {{0, 0, 0, 0, 0, 0},
                                 {0.5, 0.5, 0.5, 0.5, 0.5, 0.5},
                                 {0.75, 0.25, 0.25, 0.25, 0.75, 0.75},
                                 {0.25, 0.75, 0.75, 0.75, 0.25, 0.25},
                                 {0.375, 0.375, 0.625, 0.875, 0.375, 0.125},
                                 {0.875, 0.875, 0.125, 0.375, 0.875, 0.625},
                                 {0.625, 0.125, 0.875, 0.625, 0.625, 0.875},
                                 {0.125, 0.625, 0.375, 0.125, 0.125, 0.375}};
  for (std::uint32_t i = 0; i < 8; ++i)
    for (std::size_t d = 0; d < 6; ++d) EXPECT_EQ(unit(sobol(i, d)), expected[i][d]) << i << ' ' << d;
}

/// Point 1000 of all dimensions by scipy 1.17.
TEST(Sobol, AFarPointIsThePublishedOneInEveryDimension) {
  const double expected[] = {
      0.2197265625, 0.0966796875, 0.5185546875, 0.6767578125, 0.2802734375, 0.9072265625, 0.0458984375, 0.8994140625,
      0.5009765625, 0.0693359375, 0.0849609375, 0.2548828125, 0.1611328125, 0.3837890625, 0.1435546875, 0.3701171875,
      0.7197265625, 0.3447265625, 0.9912109375, 0.7255859375, 0.5224609375, 0.5498046875, 0.9501953125, 0.5400390625,
      0.5830078125, 0.9072265625, 0.0400390625, 0.9794921875, 0.0595703125, 0.3408203125, 0.1474609375, 0.1455078125,
      0.2958984375, 0.5927734375, 0.8017578125, 0.7705078125, 0.8486328125, 0.8310546875, 0.3076171875, 0.4794921875};
  for (std::size_t d = 0; d < kSobolDimensions; ++d) EXPECT_EQ(unit(sobol(1000, d)), expected[d]) << d;
}

/// Of 2^m points of one dimension, each interval of length 2^−m has exactly one, scrambled or not.
TEST(Sobol, ScramblingKeepsEveryStratum) {
  for (std::size_t d = 0; d < kSobolDimensions; ++d) {
    std::set<std::uint32_t> plain, scrambled;
    for (std::uint32_t i = 0; i < 256; ++i) {
      plain.insert(sobol(i, d) >> 24);
      scrambled.insert(owen_scrambled(sobol(i, d), 77 + d) >> 24);
    }
    EXPECT_EQ(plain.size(), 256u) << d;
    EXPECT_EQ(scrambled.size(), 256u) << d;
  }
  EXPECT_NE(owen_scrambled(0, 1), owen_scrambled(0, 2));
}

/// The squared L2 star discrepancy (Warnock 1972).
double discrepancy(Method method, std::size_t dimensions, std::uint32_t points, std::uint64_t seed) {
  std::vector<Dimension> space;
  for (std::size_t d = 0; d < dimensions; ++d) space.push_back(range(text::cat("x", d), Kind::uniform, 0, 1));
  const auto searcher = make_searcher(search_spec(method, points), space, seed);
  std::vector<std::vector<double>> all;
  while (auto order = searcher->ask()) {
    all.emplace_back();
    for (const auto& setting : order->trial.settings) all.back().push_back(std::get<double>(setting.value));
  }
  const double n = points;
  double one = 0, two = 0;
  for (const auto& a : all) {
    double product = 1;
    for (const double x : a) product *= 1 - x * x;
    one += product;
    for (const auto& b : all) {
      double pair = 1;
      for (std::size_t d = 0; d < dimensions; ++d) pair *= 1 - std::max(a[d], b[d]);
      two += pair;
    }
  }
  const double dims = static_cast<double>(dimensions);
  return std::pow(3, -dims) - std::pow(2, 1 - dims) / n * one + two / (n * n);
}

TEST(Sobol, ItsPointsLieMoreEvenlyThanRandomOnes) {
  for (const std::size_t dimensions : {2, 5})
    for (std::uint64_t seed = 0; seed < 10; ++seed)
      EXPECT_LT(discrepancy(Method::sobol, dimensions, 128, seed),
                0.5 * discrepancy(Method::random, dimensions, 128, seed))
          << dimensions << " dimensions, seed " << seed;
}

TEST(Sobol, KeyedBySeedAndPath) {
  const std::vector<Dimension> space{range("lr", Kind::uniform, 0, 1)};
  const auto ask = [&](std::uint32_t trials, std::uint64_t seed) {
    return make_searcher(search_spec(Method::sobol, trials), space, seed)->ask();
  };
  EXPECT_EQ(ask(4, 1), ask(8, 1));
  EXPECT_NE(ask(4, 1), ask(4, 2));
}

TEST(Sobol, RefusesMoreDimensionsThanItHasNumbersFor) {
  std::vector<Dimension> space;
  for (std::size_t d = 0; d < kSobolDimensions; ++d) space.push_back(range(text::cat("x", d), Kind::uniform, 0, 1));
  EXPECT_EQ(refusal(search_spec(Method::sobol, 4), space), "");
  space.push_back(listed("one", {0.5}));
  EXPECT_THAT(refusal(search_spec(Method::sobol, 4), space), HasSubstr("for 40 dimensions and 41 are searched"));
  EXPECT_THAT(refusal(search_spec(Method::sobol, 0), {}), HasSubstr("needs search.trials"));
}

}  // namespace
}  // namespace hopyard
