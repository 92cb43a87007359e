#include "select/rigor_intervals.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "select/rigor_draws.h"

namespace hopyard::rigor {
namespace {

TEST(StudentInterval, AgreesWithScipy) {
  // scipy 1.17.1: stats.t.interval(0.95, 4, mean, sem).
  const std::vector<double> values{0.812, 0.798, 0.825, 0.807, 0.819};
  const auto summary = summarize_group(values);
  EXPECT_EQ(summary.runs, 5u);
  EXPECT_NEAR(summary.mean, 0.8122, 1e-15);
  EXPECT_NEAR(summary.deviation, 0.010473776778220888, 1e-15);
  ASSERT_TRUE(summary.interval);
  EXPECT_NEAR(summary.interval->low, 0.7991950884492606, 1e-13);
  EXPECT_NEAR(summary.interval->high, 0.8252049115507395, 1e-13);
}

TEST(StudentInterval, OneRunHasNone) {
  const auto summary = summarize_group(std::vector<double>{0.5});
  EXPECT_EQ(summary.mean, 0.5);
  EXPECT_FALSE(summary.interval);
}

TEST(StudentInterval, EqualRunsHaveAPoint) {
  const auto summary = summarize_group(std::vector<double>{0.5, 0.5, 0.5});
  EXPECT_EQ(summary.interval, (Interval{0.5, 0.5}));
}

TEST(StudentInterval, SharedRowsWidenItByNadeauAndBengiosFactor) {
  const std::vector<double> values{1, 2, 4, 3, 5};
  const auto plain = summarize_group(values), corrected = summarize_group(values, kLevel, 0.25);
  const auto width = [](const GroupSummary& summary) { return summary.interval->high - summary.interval->low; };
  EXPECT_NEAR(width(corrected) / width(plain), std::sqrt((0.2 + 0.25) / 0.2), 1e-12);
}

TEST(StudentInterval, RefusesWhatIsNoNumber) {
  EXPECT_THROW(summarize_group({}), std::logic_error);
  EXPECT_THROW(summarize_group(std::vector<double>{1, std::nan("")}), std::logic_error);
  EXPECT_THROW(summarize_group(std::vector<double>{1, 2}, 1), std::logic_error);
}

TEST(StudentInterval, CoversTheMeanOfNormalRuns) {
  constexpr int kGroups = 4'000;
  KeyedStream stream(1);
  for (const double level : {0.8, 0.95}) {
    int covered = 0;
    for (int group = 0; group < kGroups; ++group) {
      std::vector<double> runs(3);
      for (double& run : runs) run = 7 + 2 * normal_draw(stream);
      covered += summarize_group(runs, level).interval->contains(7);
    }
    // Four standard errors of the share.
    EXPECT_NEAR(covered / double{kGroups}, level, 4 * std::sqrt(level * (1 - level) / kGroups));
  }
}

TEST(BootstrapInterval, AgreesWithScipysBca) {
  // scipy 1.17.1: stats.bootstrap(n_resamples=400000, method='BCa'); its standard error is 0.272.
  const std::vector<double> values{0.11, 0.25, 0.32, 0.40, 0.47, 0.55, 0.61, 0.78,
                                   0.92, 1.15, 1.31, 1.72, 2.05, 2.66, 4.10};
  const auto interval = bootstrap_interval(values, 3, 100'000);
  EXPECT_NEAR(interval.low, 0.748, 0.01);
  EXPECT_NEAR(interval.high, 1.884, 0.02);
}

TEST(BootstrapInterval, FollowsFromTheSeed) {
  const std::vector<double> values{1, 2, 4, 8, 16, 32};
  EXPECT_EQ(bootstrap_interval(values, 3), bootstrap_interval(values, 3));
  EXPECT_NE(bootstrap_interval(values, 3), bootstrap_interval(values, 4));
}

TEST(BootstrapInterval, EqualValuesHaveAPoint) {
  EXPECT_EQ(bootstrap_interval(std::vector<double>(9, 0.25), 1), (Interval{0.25, 0.25}));
}

TEST(BootstrapInterval, CoversTheMeanOfASkewedDistribution) {
  constexpr int kGroups = 600;
  KeyedStream stream(2);
  int covered = 0;
  for (int group = 0; group < kGroups; ++group) {
    std::vector<double> values(60);
    for (double& value : values) value = -std::log(1 - stream.uniform());
    covered += bootstrap_interval(values, static_cast<std::uint64_t>(group), 500).contains(1);
  }
  // BCa errs by O(1/n) in coverage.
  EXPECT_NEAR(covered / double{kGroups}, 0.945, 4 * std::sqrt(0.95 * 0.05 / kGroups));
}

TEST(WilsonInterval, AgreesWithScipy) {
  // scipy 1.17.1: stats.binomtest(k, n).proportion_ci(level, method='wilson').
  const struct {
    double successes, items, level, low, high;
  } table[] = {
      {0, 10, 0.95, 0.0, 0.27753279986288926},
      {3, 20, 0.95, 0.05236874589621662, 0.3604188647407569},
      {50, 100, 0.95, 0.4038315303659956, 0.5961684696340044},
      {20, 20, 0.95, 0.8388748419471808, 1.0},
      {7, 50, 0.99, 0.05614371860633749, 0.3082057874303547},
  };
  for (const auto& [successes, items, level, low, high] : table) {
    const auto interval = wilson_interval(successes / items, items, level);
    EXPECT_NEAR(interval.low, low, 1e-13);
    EXPECT_NEAR(interval.high, high, 1e-13);
  }
  EXPECT_THROW(wilson_interval(0.5, 0), std::logic_error);
  EXPECT_THROW(wilson_interval(1.5, 10), std::logic_error);
}

TEST(SortedQuantile, InterpolatesAsNumpyDoes) {
  const std::vector<double> sorted{1, 2, 4, 8};
  EXPECT_DOUBLE_EQ(sorted_quantile(sorted, 0), 1);
  EXPECT_DOUBLE_EQ(sorted_quantile(sorted, 0.25), 1.75);  // numpy.quantile
  EXPECT_DOUBLE_EQ(sorted_quantile(sorted, 0.9), 6.8);
  EXPECT_DOUBLE_EQ(sorted_quantile(sorted, 1), 8);
  EXPECT_THROW(sorted_quantile({}, 0.5), std::logic_error);
}

}  // namespace
}  // namespace hopyard::rigor
