#include "select/rigor_bias_variance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/failure.h"

namespace hopyard::rigor {
namespace {

constexpr double kSumTolerance = 1e-6;

template <class Value>
void check(std::span<const std::vector<Value>> predictions, std::size_t values) {
  require(!predictions.empty() && values > 0, "a decomposition of ", predictions.size(), " runs, ", values, " values");
  for (const auto& run : predictions)
    require(run.size() == values, "a run has ", run.size(), " predictions where ", values, " are expected");
}

void check(const LabelChances& chances) {
  const auto& [classes, values] = chances;
  require(classes > 0 && values.size() % classes == 0, values.size(), " chances of ", classes, " classes");
  for (std::size_t begin = 0; begin < values.size(); begin += classes) {
    double sum = 0;
    for (std::size_t label = 0; label < classes; ++label) {
      require(values[begin + label] >= 0, "a label has the chance ", values[begin + label]);
      sum += values[begin + label];
    }
    require(std::abs(sum - 1) <= kSumTolerance, "the chances of example ", begin / classes, " sum to ", sum);
  }
}

void check_labels(std::span<const std::int64_t> labels, std::uint32_t classes) {
  for (const std::int64_t label : labels)
    require(label >= 0 && label < classes, "label ", label, " of ", classes, " classes");
}

LabelChances certain(std::span<const std::int64_t> labels, std::uint32_t classes) {
  check_labels(labels, classes);
  LabelChances chances{classes, std::vector<double>(labels.size() * classes)};
  for (std::size_t i = 0; i < labels.size(); ++i)
    chances.chances[i * classes + static_cast<std::size_t>(labels[i])] = 1;
  return chances;
}

/// How often the runs predict each label for one example; ascending labels.
using Votes = std::map<std::int64_t, double>;

Votes votes_of(std::span<const std::vector<std::int64_t>> predictions, std::size_t example) {
  Votes votes;
  for (const auto& run : predictions) votes[run[example]] += 1.0 / static_cast<double>(predictions.size());
  return votes;
}

/// Adds one example's terms. `chance(label)` is P(t = label), `best` its mode.
template <class Chance>
void add_example(const Votes& votes, std::int64_t best, const Chance& chance, ZeroOneTerms& sum) {
  const auto main = std::max_element(votes.begin(), votes.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second * (1 - 1e-12); });
  for (const auto& [label, share] : votes)
    sum.tied += label > main->first && share >= main->second * (1 - 1e-12) ? 1 : 0;
  const auto right = votes.find(best);
  const double best_share = right == votes.end() ? 0 : right->second;
  const double label_noise = 1 - chance(best);
  double loss = 0, lucky = 0;  // lucky: a wrong prediction meets a noisy label
  for (const auto& [label, share] : votes) {
    loss += share * (1 - chance(label));
    if (label != best) lucky += share * chance(label);
  }
  const bool biased = main->first != best;
  sum.terms.loss += loss;
  sum.terms.noise += best_share * label_noise - lucky;
  sum.terms.bias += biased;
  sum.label_noise += label_noise;
  (biased ? sum.biased_variance : sum.unbiased_variance) += biased ? best_share : 1 - main->second;
}

ZeroOneTerms mean_of_sums(ZeroOneTerms sum, std::size_t runs, std::size_t examples) {
  const auto count = static_cast<double>(examples);
  for (double* value : {&sum.terms.loss, &sum.terms.noise, &sum.terms.bias, &sum.label_noise, &sum.unbiased_variance,
                        &sum.biased_variance})
    *value /= count;
  sum.terms.variance = sum.unbiased_variance - sum.biased_variance;
  sum.terms.runs = static_cast<std::uint32_t>(runs);
  sum.terms.examples = static_cast<std::uint32_t>(examples);
  return sum;
}

/// log Σ exp(values)
double log_sum_exp(std::span<const double> values) {
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

/// Adds one example's terms; mean_log is E log q_r, chances P(t = label).
void add_example(std::span<const double> mean_log, std::span<const double> chances, LossTerms& sum) {
  const double log_z = log_sum_exp(mean_log);
  for (std::size_t label = 0; label < chances.size(); ++label) {
    const double chance = chances[label];
    if (chance == 0) continue;
    sum.loss -= chance * mean_log[label];
    sum.noise -= chance * std::log(chance);
    sum.bias += chance * (std::log(chance) - mean_log[label] + log_z);
  }
  sum.variance -= log_z;
}

LossTerms mean_of_sums(LossTerms sum, std::size_t runs, std::size_t examples) {
  for (double* value : {&sum.loss, &sum.noise, &sum.bias, &sum.variance}) *value /= static_cast<double>(examples);
  sum.runs = static_cast<std::uint32_t>(runs);
  sum.examples = static_cast<std::uint32_t>(examples);
  return sum;
}

}  // namespace

ZeroOneTerms decompose_zero_one(std::span<const std::vector<std::int64_t>> predictions,
                                std::span<const std::int64_t> labels) {
  check(predictions, labels.size());
  ZeroOneTerms sum;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto chance = [&](std::int64_t label) { return label == labels[i] ? 1.0 : 0.0; };
    add_example(votes_of(predictions, i), labels[i], chance, sum);
  }
  return mean_of_sums(sum, predictions.size(), labels.size());
}

ZeroOneTerms decompose_zero_one(std::span<const std::vector<std::int64_t>> predictions, const LabelChances& chances) {
  check(chances);
  const std::size_t classes = chances.classes, examples = chances.chances.size() / classes;
  check(predictions, examples);
  for (const auto& run : predictions) check_labels(run, chances.classes);
  ZeroOneTerms sum;
  for (std::size_t i = 0; i < examples; ++i) {
    const auto begin = chances.chances.begin() + static_cast<std::ptrdiff_t>(i * classes);
    const auto best = std::max_element(begin, begin + static_cast<std::ptrdiff_t>(classes)) - begin;
    add_example(
        votes_of(predictions, i), best, [&](std::int64_t label) { return begin[label]; }, sum);
  }
  return mean_of_sums(sum, predictions.size(), examples);
}

LossTerms decompose_squared(std::span<const std::vector<double>> predictions, std::span<const double> targets,
                            std::span<const double> noise_variances) {
  check(predictions, targets.size());
  require(noise_variances.empty() || noise_variances.size() == targets.size(), noise_variances.size(),
          " noise variances of ", targets.size(), " examples");
  const auto runs = static_cast<double>(predictions.size());
  LossTerms sum;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    double mean = 0, squares = 0;
    for (const auto& run : predictions) mean += run[i] / runs;
    for (const auto& run : predictions) squares += (run[i] - mean) * (run[i] - mean);
    const double variance = runs > 1 ? squares / (runs - 1) : 0, error = mean - targets[i];
    const double noise = noise_variances.empty() ? 0 : noise_variances[i];
    sum.loss += error * error + squares / runs;
    sum.noise += noise;
    sum.bias += error * error - variance / runs - noise;
    sum.variance += variance;
  }
  return mean_of_sums(sum, predictions.size(), targets.size());
}

LossTerms decompose_log(std::span<const std::vector<double>> log_probabilities, std::uint32_t classes,
                        std::span<const std::int64_t> labels) {
  return decompose_log(log_probabilities, certain(labels, classes));
}

LossTerms decompose_log(std::span<const std::vector<double>> log_probabilities, const LabelChances& chances) {
  check(chances);
  const std::size_t classes = chances.classes;
  check(log_probabilities, chances.chances.size());
  LossTerms sum;
  std::vector<double> mean_log(classes);
  for (std::size_t begin = 0; begin < chances.chances.size(); begin += classes) {
    std::fill(mean_log.begin(), mean_log.end(), 0);
    for (const auto& run : log_probabilities) {
      for (std::size_t label = 0; label < classes; ++label) {
        require(std::isfinite(run[begin + label]), "a log-probability is ", run[begin + label]);
        mean_log[label] += run[begin + label] / static_cast<double>(log_probabilities.size());
      }
    }
    add_example(mean_log, std::span(chances.chances).subspan(begin, classes), sum);
  }
  return mean_of_sums(sum, log_probabilities.size(), chances.chances.size() / classes);
}

}  // namespace hopyard::rigor
