// Bootstrap draws shared by the statistics of this folder; private to it.
#pragma once

#include <cstdint>
#include <span>

#include "base/rng.h"

namespace hopyard::rigor {

/// How often each of counts.size() examples is drawn in resample `index`: as many draws as examples, with replacement.
/// Follows from (seed, index) alone, so that all trials are judged on the same draws. Whole numbers, as doubles.
inline void draw_counts(std::uint64_t seed, std::uint32_t index, std::span<double> counts) {
  KeyedStream stream(derive(derive(seed, "bootstrap"), index));
  for (double& count : counts) count = 0;
  for (std::size_t draw = 0; draw < counts.size(); ++draw) ++counts[stream.below(counts.size())];
}

/// Σ counts · scores, in four sums so that an addition need not wait for the one before it.
inline double weighted_sum(std::span<const double> scores, std::span<const double> counts) {
  double sums[4] = {};
  std::size_t i = 0;
  for (; i + 4 <= scores.size(); i += 4)
    for (std::size_t k = 0; k < 4; ++k) sums[k] += counts[i + k] * scores[i + k];
  for (; i < scores.size(); ++i) sums[0] += counts[i] * scores[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// Summed in the order of the values. Requires at least one.
inline double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace hopyard::rigor
