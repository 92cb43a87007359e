#include "select/rigor_noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "select/rigor_draws.h"

namespace hopyard::rigor {
namespace {

struct Rows {
  Clusters clusters;
  std::vector<std::int64_t> labels;
};

/// Clusters of `size` rows whose label is 0 but, with probability `error`, one of the others, each equally likely.
Rows noisy_rows(std::uint32_t clusters, std::uint32_t size, std::uint32_t classes, double error, KeyedStream& stream) {
  Rows rows;
  rows.clusters.count = clusters;
  for (std::uint32_t row = 0; row < clusters * size; ++row) {
    rows.clusters.of_row.push_back(row % clusters);
    const bool wrong = stream.uniform() < error;
    rows.labels.push_back(wrong ? static_cast<std::int64_t>(1 + stream.below(classes - 1)) : 0);
  }
  return rows;
}

TEST(NoiseFloor, ByHand) {
  // Clusters {0, 0}, {0, 1}, {0, 0, 1} and a row alone: pairs that differ 0, 1 and 2/3, weighted by 2, 2 and 3 rows.
  const Clusters clusters{{0, 1, 0, 1, 2, 2, 2, 3}, 4, 0};
  const auto floor = estimate_noise_floor(clusters, std::vector<std::int64_t>{0, 0, 0, 1, 0, 1, 0, 1});
  ASSERT_TRUE(floor);
  EXPECT_EQ(floor->rows_total, 8u);
  EXPECT_EQ(floor->rows, 7u);
  EXPECT_EQ(floor->clusters, 3u);
  EXPECT_EQ(floor->mixed_clusters, 2u);
  EXPECT_EQ(floor->classes, 2u);
  EXPECT_NEAR(floor->disagreement, (2 * 0 + 2 * 1 + 3 * 2.0 / 3) / 7, 1e-15);
  EXPECT_EQ(floor->error_rate, 0.5);  // D is above ½, the most that two classes allow
  EXPECT_EQ(floor->disagreement_interval, wilson_interval(4.0 / 7, 49.0 / 17));
}

TEST(NoiseFloor, UniformNoiseIsInvertedExactly) {
  // Pairs of which exactly D = 2e − C / (C − 1) e² differ: e = 0.1 of two classes gives 0.18.
  Clusters clusters;
  std::vector<std::int64_t> labels;
  for (std::uint32_t pair = 0; pair < 100; ++pair) {
    clusters.of_row.insert(clusters.of_row.end(), {pair, pair});
    labels.insert(labels.end(), {0, pair < 18});
  }
  clusters.count = 100;
  const auto floor = estimate_noise_floor(clusters, labels);
  EXPECT_NEAR(floor->disagreement, 0.18, 1e-15);
  EXPECT_NEAR(floor->error_rate, 0.1, 1e-12);
  EXPECT_EQ(floor->error_rate_max, floor->disagreement);
  EXPECT_NEAR(estimate_noise_floor(clusters, labels, 10)->error_rate, 0.9 * (1 - std::sqrt(0.8)), 1e-12);
}

TEST(NoiseFloor, NothingRepeatsNothingIsKnown) {
  EXPECT_FALSE(estimate_noise_floor({{0, 1, 2}, 3, 0}, std::vector<std::int64_t>{0, 1, 0}));
  EXPECT_FALSE(estimate_noise_floor({}, {}));
}

TEST(NoiseFloor, NoDisagreementStillHasAnUpperEnd) {
  const auto floor = estimate_noise_floor({{0, 0, 1, 1}, 2, 0}, std::vector<std::int64_t>{0, 0, 1, 1});
  EXPECT_EQ(floor->error_rate, 0);
  EXPECT_EQ(floor->error_interval.low, 0);
  EXPECT_GT(floor->error_interval.high, 0.2);  // two clusters say little
}

TEST(NoiseFloor, OneClassHasNoNoise) {
  const auto floor = estimate_noise_floor({{0, 0}, 1, 0}, std::vector<std::int64_t>{3, 3});
  EXPECT_EQ(floor->classes, 1u);
  EXPECT_EQ(floor->error_rate, 0);
  EXPECT_EQ(floor->error_interval, (Interval{0, 0}));
}

TEST(NoiseFloor, RecoversAKnownNoiseRateAndCoversIt) {
  constexpr int kExperiments = 1'000;
  KeyedStream stream(1);
  const struct {
    std::uint32_t size, classes;
    double error;
  } cases[] = {{2, 2, 0.1}, {2, 2, 0.02}, {5, 2, 0.1}, {2, 8, 0.2}, {4, 8, 0.05}};
  for (const auto& [size, classes, error] : cases) {
    SCOPED_TRACE(testing::Message() << size << " rows, " << classes << " classes, error " << error);
    double disagreement = 0;
    int covered = 0;
    for (int experiment = 0; experiment < kExperiments; ++experiment) {
      const Rows rows = noisy_rows(200, size, classes, error, stream);
      const auto floor = estimate_noise_floor(rows.clusters, rows.labels, classes);
      disagreement += floor->disagreement / kExperiments;
      covered += floor->error_interval.contains(error);
    }
    const double expected = 2 * error - error * error * classes / (classes - 1.0);
    // The mean of 1,000 estimates from 200 clusters; larger clusters are surer than their Wilson interval admits.
    EXPECT_NEAR(disagreement, expected, 4 * std::sqrt(expected * (1 - expected) / (200 * kExperiments)));
    EXPECT_GE(covered / double{kExperiments}, 0.95 - 4 * std::sqrt(0.95 * 0.05 / kExperiments));
  }
}

TEST(NoiseFloor, BoundsHoldForNoiseOfAnyShape) {
  // Half of the inputs have no noise, a quarter 30 % and a quarter 45 % towards one other label of three: e = 0.1875.
  KeyedStream stream(2);
  Clusters clusters;
  std::vector<std::int64_t> labels;
  for (std::uint32_t cluster = 0; cluster < 20'000; ++cluster) {
    const double error = cluster % 4 == 0 ? 0.3 : cluster % 4 == 1 ? 0.45 : 0;
    for (int row = 0; row < 2; ++row) {
      clusters.of_row.push_back(cluster);
      labels.push_back(stream.uniform() < error ? 1 : 0);
    }
  }
  clusters.count = 20'000;
  const auto floor = estimate_noise_floor(clusters, labels, 3);
  EXPECT_LE(floor->error_rate, 0.1875);
  EXPECT_GE(floor->error_rate_max, 0.1875);
  EXPECT_LE(floor->error_rate_max, 2 * floor->error_rate);
}

TEST(NoiseFloor, RefusesLabelsThatDoNotMatch) {
  EXPECT_THROW(estimate_noise_floor({{0, 0}, 1, 0}, std::vector<std::int64_t>{1}), std::logic_error);
}

}  // namespace
}  // namespace hopyard::rigor
