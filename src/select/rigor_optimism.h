// How much better the best of many trials looks on the validation split than it is. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "select/rigor_intervals.h"

namespace hopyard::rigor {

struct SelectionOptimism {
  std::uint32_t trials = 0, examples = 0;
  std::size_t selected = 0;     ///< position of the trial with the best mean; the first of equals
  double apparent = 0;          ///< its mean score on the examples that selected it
  double corrected = 0;         ///< what a trial selected in this way scores on other examples
  Interval interval;            ///< of `corrected`
  double optimism = 0;          ///< by how much `apparent` flatters: ≥ 0 but for chance, also where smaller is better
  Interval optimism_interval;   ///< follows from `interval`
  std::uint32_t resamples = 0;  ///< that left any example out
  bool operator==(const SelectionOptimism&) const = default;
};

/// Bootstrap bias-corrected selection (BBC-CV: Tsamardinos, Greasidou, Borboudakis, "Bootstrapping the out-of-sample
/// predictions for efficient and accurate cross-validation", Machine Learning 107, 2018): draw examples with
/// replacement, select the best trial on the drawn ones, judge it on those not drawn; `corrected` is the mean over
/// resamples and `interval` its percentiles. Nested: no example both selects and judges. Slightly pessimistic, since a
/// resample selects by 63 % of the examples, and its interval is rather too wide, since it judges by 37 %. Values are
/// scores[trial][example], for a group the mean over its runs. It is about the examples only: the trials are taken as
/// trained. Costs resamples × trials × examples. Requires at least one trial and 2 examples, as many for each trial,
/// finite scores.
SelectionOptimism selection_optimism(std::span<const std::vector<double>> scores, bool maximize, std::uint64_t seed,
                                     std::uint32_t resamples = kResamples, double level = kLevel);

}  // namespace hopyard::rigor
