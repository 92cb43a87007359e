#include "select/rigor_intervals.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/failure.h"
#include "select/rigor_bootstrap.h"
#include "select/rigor_distributions.h"

namespace hopyard::rigor {
namespace {

void check(std::span<const double> values, double level) {
  require(!values.empty(), "an interval needs at least one value");
  require(level > 0 && level < 1, "a confidence level lies inside (0, 1), not at ", level);
  for (const double value : values) require(std::isfinite(value), "an interval needs finite values, not ", value);
}

/// Efron and Tibshirani 1993, eq. 14.14: from the share of bootstrap means below the mean; ties count half.
double bias_correction(std::span<const double> sorted, double mean) {
  const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), mean);
  const auto count = static_cast<double>(sorted.size());
  const double below = static_cast<double>(first - sorted.begin()) + static_cast<double>(last - first) / 2;
  return normal_quantile(std::clamp(below / count, 0.5 / count, 1 - 0.5 / count));
}

/// Of the mean: skewness / (6 √n), which is what the jackknife gives (Efron and Tibshirani 1993, eq. 14.15).
double acceleration(std::span<const double> values, double mean) {
  double squares = 0, cubes = 0;
  for (const double value : values) {
    squares += (value - mean) * (value - mean);
    cubes += (value - mean) * (value - mean) * (value - mean);
  }
  return cubes / (6 * std::pow(squares, 1.5));
}

std::vector<double> sorted_bootstrap_means(std::span<const double> values, std::uint64_t seed,
                                           std::uint32_t resamples) {
  std::vector<double> counts(values.size()), means(resamples);
  for (std::uint32_t b = 0; b < resamples; ++b) {
    draw_counts(seed, b, counts);
    means[b] = weighted_sum(values, counts) / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  return means;
}

}  // namespace

GroupSummary summarize_group(std::span<const double> values, double level, double test_per_train) {
  check(values, level);
  GroupSummary summary;
  const auto count = static_cast<double>(values.size());
  summary.runs = static_cast<std::uint32_t>(values.size());
  summary.mean = mean_of(values);
  if (values.size() == 1) return summary;
  double squares = 0;
  for (const double value : values) squares += (value - summary.mean) * (value - summary.mean);
  summary.deviation = std::sqrt(squares / (count - 1));
  const double t = student_t_quantile(0.5 + level / 2, count - 1);
  const double half = t * summary.deviation * std::sqrt(1 / count + test_per_train);
  summary.interval = {summary.mean - half, summary.mean + half};
  return summary;
}

Interval bootstrap_interval(std::span<const double> values, std::uint64_t seed, std::uint32_t resamples, double level) {
  check(values, level);
  require(resamples > 0, "a bootstrap interval needs resamples");
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low == *high) return {*low, *high};
  const double mean = mean_of(values);
  const auto means = sorted_bootstrap_means(values, seed, resamples);
  const double shift = bias_correction(means, mean), skew = acceleration(values, mean);
  const auto end = [&](double probability) {
    const double z = shift + normal_quantile(probability);
    return sorted_quantile(means, normal_cdf(shift + z / (1 - skew * z)));
  };
  return {end(0.5 - level / 2), end(0.5 + level / 2)};
}

Interval wilson_interval(double share, double items, double level) {
  require(items > 0 && share >= 0 && share <= 1, "no interval for a share of ", share, " in ", items, " items");
  const double z = normal_quantile(0.5 + level / 2), shrink = 1 + z * z / items;
  const double centre = share + z * z / (2 * items);
  const double half = z * std::sqrt(share * (1 - share) / items + z * z / (4 * items * items));
  // Rounding may miss the ends by a bit.
  return {share == 0 ? 0 : std::max(0.0, (centre - half) / shrink),
          share == 1 ? 1 : std::min(1.0, (centre + half) / shrink)};
}

double sorted_quantile(std::span<const double> sorted, double probability) {
  require(!sorted.empty(), "a quantile needs at least one value");
  const double place = std::clamp(probability, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  if (below + 1 == sorted.size()) return sorted.back();
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[below + 1] - sorted[below]);
}

}  // namespace hopyard::rigor
