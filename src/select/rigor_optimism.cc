#include "select/rigor_optimism.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "select/rigor_bootstrap.h"

namespace hopyard::rigor {
namespace {

void check(std::span<const std::vector<double>> scores) {
  require(!scores.empty(), "no trials to select from");
  require(scores[0].size() >= 2, "selection among trials with ", scores[0].size(), " examples");
  for (const auto& trial : scores) {
    require(trial.size() == scores[0].size(), "a trial has ", trial.size(), " scores, another ", scores[0].size());
    for (const double score : trial) require(std::isfinite(score), "selection among scores such as ", score);
  }
}

/// The trial whose drawn scores have the best sum; the first of equals.
std::size_t select_best(std::span<const std::vector<double>> scores, std::span<const double> counts, bool maximize) {
  std::size_t best = 0;
  double best_sum = weighted_sum(scores[0], counts);
  for (std::size_t trial = 1; trial < scores.size(); ++trial) {
    const double sum = weighted_sum(scores[trial], counts);
    if (maximize ? sum <= best_sum : sum >= best_sum) continue;
    best = trial;
    best_sum = sum;
  }
  return best;
}

/// What the trials selected on each resample score on the examples that it left out.
std::vector<double> judge_out_of_bag(std::span<const std::vector<double>> scores, bool maximize, std::uint64_t seed,
                                     std::uint32_t resamples) {
  std::vector<double> judged, counts(scores[0].size());
  for (std::uint32_t b = 0; b < resamples; ++b) {
    draw_counts(seed, b, counts);
    const auto& selected = scores[select_best(scores, counts, maximize)];
    double sum = 0, left_out = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > 0) continue;
      sum += selected[i];
      ++left_out;
    }
    if (left_out > 0) judged.push_back(sum / left_out);
  }
  return judged;
}

}  // namespace

SelectionOptimism selection_optimism(std::span<const std::vector<double>> scores, bool maximize, std::uint64_t seed,
                                     std::uint32_t resamples, double level) {
  check(scores);
  SelectionOptimism result;
  result.trials = static_cast<std::uint32_t>(scores.size());
  result.examples = static_cast<std::uint32_t>(scores[0].size());
  result.selected = select_best(scores, std::vector<double>(scores[0].size(), 1), maximize);
  result.apparent = mean_of(scores[result.selected]);
  auto judged = judge_out_of_bag(scores, maximize, seed, resamples);
  require(!judged.empty(), "none of ", resamples, " resamples of ", result.examples, " examples left one out");
  std::sort(judged.begin(), judged.end());
  result.resamples = static_cast<std::uint32_t>(judged.size());
  result.corrected = mean_of(judged);
  result.interval = {sorted_quantile(judged, 0.5 - level / 2), sorted_quantile(judged, 0.5 + level / 2)};
  const double sign = maximize ? 1 : -1;
  result.optimism = sign * (result.apparent - result.corrected);
  const double ends[] = {sign * (result.apparent - result.interval.low),
                         sign * (result.apparent - result.interval.high)};
  result.optimism_interval = {std::min(ends[0], ends[1]), std::max(ends[0], ends[1])};
  return result;
}

}  // namespace hopyard::rigor
