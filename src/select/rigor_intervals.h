// Confidence intervals: of the mean of a group's runs, of a share, and by bootstrap. Values in, values out; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace hopyard::rigor {

/// The share of intervals that hold the true value, unless the caller wants another.
inline constexpr double kLevel = 0.95;
inline constexpr std::uint32_t kResamples = 2'000;

struct Interval {
  double low = 0, high = 0;
  bool contains(double value) const { return low <= value && value <= high; }
  bool operator==(const Interval&) const = default;
};

/// What the leaderboard shows for a group of runs that differ by seed or by resample.
struct GroupSummary {
  std::uint32_t runs = 0;
  double mean = 0;
  double deviation = 0;              ///< the sample's standard deviation, runs − 1 below the line; 0 for one run
  std::optional<Interval> interval;  ///< nothing for one run
  bool operator==(const GroupSummary&) const = default;
};

/// Student's interval (Student, Biometrika 6, 1908): mean ± t(1 − α/2, k − 1) · s · √(1/k + test_per_train).
/// `test_per_train` = 0 is the classical interval of independent runs (seeds). Runs that share training rows (k-fold,
/// repeated splits) vary too little among themselves; where each is judged on its own held-out rows, their number over
/// that of its training rows is Nadeau and Bengio's correction ("Inference for the generalization error", Machine
/// Learning 52, 2003, the corrected resampled t). The interval is about the mean over runs on these validation
/// examples, not about other examples. Requires at least one value, all finite.
GroupSummary summarize_group(std::span<const double> values, double level = kLevel, double test_per_train = 0);

/// The mean's BCa interval (Efron, "Better bootstrap confidence intervals", JASA 82, 1987; Efron and Tibshirani, An
/// Introduction to the Bootstrap, 1993, section 14.3): percentiles of the bootstrap means, shifted for bias and
/// skewness. For at least a dozen values: below that it is too short, and summarize_group is better. Costs values ×
/// resamples. The same bits for the same seed.
Interval bootstrap_interval(std::span<const double> values, std::uint64_t seed, std::uint32_t resamples = kResamples,
                            double level = kLevel);

/// Wilson's interval of a share (Wilson, JASA 22, 1927): honest also when no or all items have what is counted. `items`
/// need not be whole: weighted items count by their effective number, (Σw)² / Σw² (Kish, Survey Sampling, 1965,
/// section 11.7). For shares of parts, in [0, 1] each, it is on the safe side. Requires items > 0 and 0 ≤ share ≤ 1.
Interval wilson_interval(double share, double items, double level = kLevel);

/// The value below which a share `probability` of the sorted values lies, interpolated (Hyndman and Fan, The American
/// Statistician 50, 1996, definition 7, as in NumPy). Requires at least one value.
double sorted_quantile(std::span<const double> sorted, double probability);

}  // namespace hopyard::rigor
