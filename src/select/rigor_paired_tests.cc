#include "select/rigor_paired_tests.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/failure.h"
#include "base/rng.h"
#include "select/rigor_bootstrap.h"
#include "select/rigor_distributions.h"

namespace hopyard::rigor {
namespace {

void check(const Contestant& contestant, std::size_t examples) {
  require(!contestant.runs.empty(), "'", contestant.id, "' has no runs to compare");
  for (const auto& run : contestant.runs) {
    require(run.size() == examples, "'", contestant.id, "' has ", run.size(), " scores, another run ", examples);
    for (const double score : run) require(std::isfinite(score), "'", contestant.id, "' has a score of ", score);
  }
}

/// The runs' means over examples that count `counts` times.
void means_of_runs(const Contestant& contestant, std::span<const double> counts, std::vector<double>& means) {
  means.clear();
  for (const auto& run : contestant.runs)
    means.push_back(weighted_sum(run, counts) / static_cast<double>(counts.size()));
}

/// The mean of as many runs as there are, drawn with replacement, its deviation stretched by √(k / (k − 1)).
double draw_runs(std::span<const double> means, KeyedStream& stream) {
  const double mean = mean_of(means);
  if (means.size() == 1) return mean;
  const auto count = static_cast<double>(means.size());
  double sum = 0;
  for (std::size_t draw = 0; draw < means.size(); ++draw) sum += means[stream.below(means.size())];
  return mean + std::sqrt(count / (count - 1)) * (sum / count - mean);
}

double variance_of(std::span<const double> values) {
  const double mean = mean_of(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return squares / static_cast<double>(values.size() - 1);
}

}  // namespace

McNemarTest mcnemar(std::uint64_t only_first, std::uint64_t only_second) {
  McNemarTest test{only_first, only_second};
  const std::uint64_t fewer = std::min(only_first, only_second), differing = only_first + only_second;
  if (differing == 0) return test;
  const double mass = binomial_mass(fewer, differing, 0.5);
  if (only_first == only_second) {
    test.mid_p = 1 - mass / 2;
    return test;
  }
  test.exact_p = std::min(1.0, 2 * binomial_cdf(fewer, differing, 0.5));
  test.mid_p = test.exact_p - mass;
  return test;
}

McNemarTest mcnemar(std::span<const double> first, std::span<const double> second) {
  require(first.size() == second.size(), "McNemar's test of ", first.size(), " and ", second.size(), " examples");
  std::uint64_t only_first = 0, only_second = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    for (const double score : {first[i], second[i]})
      require(score == 0 || score == 1, "McNemar's test needs scores of 0 or 1, not ", score);
    only_first += first[i] > second[i];
    only_second += second[i] > first[i];
  }
  return mcnemar(only_first, only_second);
}

PairedBootstrap::PairedBootstrap(std::span<const Contestant> contestants, std::uint64_t seed, std::uint32_t resamples) {
  require(!contestants.empty() && !contestants[0].runs.empty(), "nobody to compare");
  examples_ = contestants[0].runs[0].size();
  require(examples_ >= 2 && resamples >= 2, "a paired bootstrap of ", examples_, " examples, ", resamples,
          " resamples");
  std::vector<double> counts(examples_, 1), means;
  for (const Contestant& contestant : contestants) {
    check(contestant, examples_);
    means_of_runs(contestant, counts, means);
    Drawn& drawn = drawn_.emplace_back();
    drawn.mean = mean_of(means);
    drawn.run_degrees = static_cast<double>(means.size() - 1);
    if (means.size() > 1) drawn.run_variance = variance_of(means) / static_cast<double>(means.size());
    drawn.means.reserve(resamples);
  }
  for (std::uint32_t b = 0; b < resamples; ++b) {
    draw_counts(seed, b, counts);
    for (std::size_t c = 0; c < contestants.size(); ++c) {
      means_of_runs(contestants[c], counts, means);
      KeyedStream stream(derive(derive(derive(seed, "runs"), contestants[c].id), b));
      drawn_[c].means.push_back(draw_runs(means, stream));
    }
  }
}

double PairedBootstrap::degrees(const Drawn& first, const Drawn& second, double variance) const {
  const double by_examples = std::max(0.0, variance - first.run_variance - second.run_variance);
  double sum = by_examples * by_examples / static_cast<double>(examples_ - 1);
  for (const Drawn* drawn : {&first, &second})
    if (drawn->run_degrees > 0) sum += drawn->run_variance * drawn->run_variance / drawn->run_degrees;
  return variance * variance / sum;
}

PairedTest PairedBootstrap::compare(std::size_t first, std::size_t second) const {
  const Drawn &a = drawn_.at(first), &b = drawn_.at(second);
  std::vector<double> differences(a.means.size());
  for (std::size_t i = 0; i < differences.size(); ++i) differences[i] = a.means[i] - b.means[i];
  PairedTest test;
  test.difference = a.mean - b.mean;
  // What examples say of the runs' spread must not fall below what the runs themselves say.
  const double variance = std::max(variance_of(differences), a.run_variance + b.run_variance);
  test.standard_error = std::sqrt(variance);
  test.degrees = variance > 0 ? degrees(a, b, variance) : static_cast<double>(examples_ - 1);
  const double half = student_t_quantile(0.5 + kLevel / 2, test.degrees) * test.standard_error;
  test.interval = {test.difference - half, test.difference + half};
  if (variance > 0)
    test.p = 2 * student_t_cdf(-std::abs(test.difference) / test.standard_error, test.degrees);
  else
    test.p = test.difference == 0 ? 1 : 0;
  return test;
}

std::vector<double> holm(std::span<const double> p, std::size_t hypotheses) {
  const std::size_t count = std::max(p.size(), hypotheses);
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> corrected(p.size());
  double largest = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, static_cast<double>(count - i) * p[order[i]]);
    corrected[order[i]] = std::min(1.0, largest);
  }
  return corrected;
}

}  // namespace hopyard::rigor
