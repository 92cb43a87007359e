#include "select/rigor_bias_variance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "select/rigor_draws.h"

namespace hopyard::rigor {
namespace {

using Labels = std::vector<std::int64_t>;
using Values = std::vector<double>;

void expect_sum(const LossTerms& terms) { EXPECT_NEAR(terms.loss, terms.noise + terms.bias + terms.variance, 1e-12); }

/// k runs of one example: run r predicts predictions[r].
std::vector<Labels> runs_of(const Labels& predictions) {
  std::vector<Labels> runs;
  for (const std::int64_t prediction : predictions) runs.push_back({prediction});
  return runs;
}

TEST(ZeroOne, ARightMainPredictionMakesVarianceCost) {
  const auto result = decompose_zero_one(runs_of({1, 1, 1, 0, 2}), Labels{1});
  EXPECT_NEAR(result.terms.loss, 0.4, 1e-12);
  EXPECT_EQ(result.terms.bias, 0);
  EXPECT_NEAR(result.terms.variance, 0.4, 1e-12);
  EXPECT_NEAR(result.unbiased_variance, 0.4, 1e-12);
  EXPECT_EQ(result.biased_variance, 0);
  EXPECT_EQ(result.terms.noise, 0);
  EXPECT_EQ(result.terms.runs, 5u);
}

TEST(ZeroOne, AWrongMainPredictionMakesVarianceHelp) {
  // Three runs say 1, one the right 0, one the other wrong 2: bias 1, and P(y = y*) = 0.2 of it is undone.
  const auto result = decompose_zero_one(runs_of({1, 1, 1, 0, 2}), Labels{0});
  EXPECT_NEAR(result.terms.loss, 0.8, 1e-12);
  EXPECT_EQ(result.terms.bias, 1);
  EXPECT_NEAR(result.biased_variance, 0.2, 1e-12);
  EXPECT_NEAR(result.terms.variance, -0.2, 1e-12);
  expect_sum(result.terms);
}

TEST(ZeroOne, TwoClassesWithNoiseHaveDomingosClosedForm) {
  // Of 10 runs `right` predict y*, whose chance is 1 − e: N = e, c1 = 2 P(y = y*) − 1, c2 = ±1 (Theorem 1).
  const double e = 0.15;
  for (int right = 0; right <= 10; ++right) {
    if (right == 5) continue;  // a tie
    Labels predictions(10, 1);
    std::fill_n(predictions.begin(), right, 0);
    const auto result = decompose_zero_one(runs_of(predictions), LabelChances{2, {1 - e, e}});
    const double share = right / 10.0, variance = std::min(share, 1 - share);
    EXPECT_NEAR(result.terms.loss, share * e + (1 - share) * (1 - e), 1e-12);
    EXPECT_NEAR(result.label_noise, e, 1e-12);
    EXPECT_NEAR(result.terms.noise, (2 * share - 1) * e, 1e-12);
    EXPECT_EQ(result.terms.bias, right < 5);
    EXPECT_NEAR(result.terms.variance, right < 5 ? -variance : variance, 1e-12);
    expect_sum(result.terms);
  }
}

TEST(ZeroOne, AgreesWithTheMulticlassTheoremTermByTerm) {
  KeyedStream stream(1);
  for (int trial = 0; trial < 500; ++trial) {
    constexpr int kClasses = 4, kRuns = 7;
    Values chances(kClasses);
    double sum = 0;
    for (double& chance : chances) sum += chance = stream.uniform();
    for (double& chance : chances) chance /= sum;
    Labels predictions(kRuns);
    for (auto& prediction : predictions) prediction = static_cast<std::int64_t>(stream.below(kClasses));
    const auto result = decompose_zero_one(runs_of(predictions), LabelChances{kClasses, chances});

    Values share(kClasses);
    for (const auto prediction : predictions) share[static_cast<std::size_t>(prediction)] += 1.0 / kRuns;
    const auto best = std::max_element(chances.begin(), chances.end()) - chances.begin();
    const auto main =
        std::max_element(share.begin(), share.end(), [](double a, double b) { return a < b - 1e-9; }) - share.begin();
    const double p_best = share[best], noise = 1 - chances[best], variance = 1 - share[main];
    double loss = 0, meets = 0;  // P(y = t | t ≠ y*, y ≠ y*)
    for (int y = 0; y < kClasses; ++y) {
      loss += share[y] * (1 - chances[y]);
      if (y != best && p_best < 1) meets += share[y] / (1 - p_best) * chances[y] / noise;
    }
    const double c1 = p_best - (1 - p_best) * meets, c2 = main == best ? 1 : -p_best / variance;
    EXPECT_NEAR(result.terms.loss, loss, 1e-12);
    EXPECT_NEAR(result.terms.noise, c1 * noise, 1e-12);
    EXPECT_EQ(result.terms.bias, main != best);
    EXPECT_NEAR(result.terms.variance, variance == 0 ? 0 : c2 * variance, 1e-12);
    expect_sum(result.terms);
  }
}

TEST(ZeroOne, RecoversKnownTermsFromManyRuns) {
  // A third of the examples is biased. A run errs independently on each: right (unbiased) or wrong (biased) with 0.8.
  constexpr int kRuns = 41, kExamples = 6'000;
  KeyedStream stream(2);
  std::vector<Labels> runs(kRuns, Labels(kExamples));
  for (auto& run : runs)
    for (int i = 0; i < kExamples; ++i) run[i] = i % 3 == 0 ? toss(stream, 0.8) : toss(stream, 0.2);
  const auto result = decompose_zero_one(runs, Labels(kExamples, 0));
  EXPECT_NEAR(result.terms.bias, 1.0 / 3, 0.005);
  EXPECT_NEAR(result.unbiased_variance, 0.2 * 2 / 3, 0.005);
  EXPECT_NEAR(result.biased_variance, 0.2 / 3, 0.005);
  EXPECT_NEAR(result.terms.loss, 0.8 / 3 + 0.2 * 2 / 3, 0.005);
  expect_sum(result.terms);
}

TEST(ZeroOne, TiesAreCountedAndGoToTheSmallestLabel) {
  const auto result = decompose_zero_one(runs_of({2, 1, 1, 2, 0}), Labels{1});
  EXPECT_EQ(result.tied, 1u);
  EXPECT_EQ(result.terms.bias, 0);
}

TEST(ZeroOne, RefusesWhatDoesNotMatch) {
  EXPECT_THROW(decompose_zero_one({}, Labels{1}), std::logic_error);
  EXPECT_THROW(decompose_zero_one(runs_of({1}), Labels{1, 2}), std::logic_error);
  EXPECT_THROW(decompose_zero_one(runs_of({1}), LabelChances{2, {0.5, 0.4}}), std::logic_error);
  EXPECT_THROW(decompose_zero_one(runs_of({2}), LabelChances{2, {0.5, 0.5}}), std::logic_error);
}

TEST(Squared, TwoRunsByHand) {
  // Predictions 1 and 3 of target 5: mean 2, s² = 2, loss (16 + 4) / 2 = 10 = (3² − 2/2) + 2.
  const auto terms = decompose_squared(std::vector<Values>{{1}, {3}}, Values{5});
  EXPECT_DOUBLE_EQ(terms.loss, 10);
  EXPECT_DOUBLE_EQ(terms.bias, 8);
  EXPECT_DOUBLE_EQ(terms.variance, 2);
}

TEST(Squared, OneRunHasNoVariance) {
  const auto terms = decompose_squared(std::vector<Values>{{1}}, Values{5});
  EXPECT_DOUBLE_EQ(terms.bias, 16);
  EXPECT_DOUBLE_EQ(terms.variance, 0);
}

TEST(Squared, RecoversKnownTermsFromFewRuns) {
  // Run r predicts f + 0.7 + 0.5 z, the target is f + 0.3 z: bias² 0.49, variance 0.25, noise 0.09, with only 3 runs.
  constexpr int kExamples = 40'000;
  KeyedStream stream(3);
  Values targets(kExamples);
  std::vector<Values> runs(3, Values(kExamples));
  for (int i = 0; i < kExamples; ++i) {
    const double f = std::sin(i);
    targets[i] = f + 0.3 * normal_draw(stream);
    for (auto& run : runs) run[i] = f + 0.7 + 0.5 * normal_draw(stream);
  }
  const auto terms = decompose_squared(runs, targets, Values(kExamples, 0.09));
  EXPECT_NEAR(terms.bias, 0.49, 0.02);
  EXPECT_NEAR(terms.variance, 0.25, 0.005);
  EXPECT_NEAR(terms.noise, 0.09, 1e-12);
  EXPECT_NEAR(terms.loss, 0.83, 0.02);
  EXPECT_NEAR(terms.loss, terms.noise + terms.bias + terms.variance, 1e-9);
  EXPECT_NEAR(decompose_squared(runs, targets).bias, 0.58, 0.02);  // noise that is not known is bias
}

/// log of (1 − sigmoid, sigmoid) of a logit
Values log_sigmoid(double logit) { return {-std::log1p(std::exp(logit)), -std::log1p(std::exp(-logit))}; }

TEST(LogLoss, BinaryLogitsHaveAClosedForm) {
  // The normalised geometric mean of sigmoids is the sigmoid of the mean logit; −log Z = E softplus(l) − softplus(E l).
  const double logits[] = {-0.5, 2, 3.5};
  std::vector<Values> runs;
  double mean = 0, softplus = 0;
  for (const double logit : logits) {
    runs.push_back(log_sigmoid(logit));
    mean += logit / 3;
    softplus += std::log1p(std::exp(logit)) / 3;
  }
  const double chance = 0.9;
  const auto terms = decompose_log(runs, LabelChances{2, {1 - chance, chance}});
  const auto main = log_sigmoid(mean);
  EXPECT_NEAR(terms.variance, softplus - std::log1p(std::exp(mean)), 1e-12);
  EXPECT_NEAR(terms.noise, -chance * std::log(chance) - (1 - chance) * std::log(1 - chance), 1e-12);
  EXPECT_NEAR(terms.bias, chance * (std::log(chance) - main[1]) + (1 - chance) * (std::log(1 - chance) - main[0]),
              1e-12);
  expect_sum(terms);
  const auto sure = decompose_log(runs, 2, Labels{1});
  EXPECT_NEAR(sure.bias, -main[1], 1e-12);
  EXPECT_EQ(sure.noise, 0);
  expect_sum(sure);
}

/// Log-softmax of normal logits around `centre`.
Values draw_log_softmax(const Values& centre, double deviation, KeyedStream& stream) {
  Values logs = centre;
  double sum = 0;
  for (double& value : logs) sum += std::exp(value += deviation * normal_draw(stream));
  for (double& value : logs) value -= std::log(sum);
  return logs;
}

TEST(LogLoss, TermsAreTheDivergencesOfTheirDefinition) {
  KeyedStream stream(4);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Values> runs;
    for (int r = 0; r < 4; ++r) runs.push_back(draw_log_softmax({1, 0, -1}, 1, stream));
    const Values chances{0.6, 0.3, 0.1};
    const auto terms = decompose_log(runs, LabelChances{3, chances});
    Values main(3);
    double z = 0, loss = 0, bias = 0, variance = 0;
    for (int c = 0; c < 3; ++c) z += main[c] = std::exp((runs[0][c] + runs[1][c] + runs[2][c] + runs[3][c]) / 4);
    for (int c = 0; c < 3; ++c) {
      main[c] /= z;
      bias += chances[c] * std::log(chances[c] / main[c]);
      for (const auto& run : runs) {
        loss -= chances[c] * run[c] / 4;
        variance += main[c] * (std::log(main[c]) - run[c]) / 4;
      }
    }
    EXPECT_NEAR(terms.loss, loss, 1e-12);
    EXPECT_NEAR(terms.bias, bias, 1e-12);
    EXPECT_NEAR(terms.variance, variance, 1e-12);
    expect_sum(terms);
  }
}

TEST(LogLoss, RecoversKnownTermsFromManyRuns) {
  // Binary logits 1 + 0.8 z: the main prediction is sigmoid(1), and the variance E softplus(1 + 0.8 z) − softplus(1),
  // 0.0609849 by scipy 1.17.1's integrate.quad.
  constexpr int kRuns = 100, kExamples = 1'000;
  KeyedStream stream(5);
  std::vector<Values> runs(kRuns);
  for (auto& run : runs) {
    for (int i = 0; i < kExamples; ++i) {
      const auto logs = log_sigmoid(1 + 0.8 * normal_draw(stream));
      run.insert(run.end(), logs.begin(), logs.end());
    }
  }
  Values chances;
  for (int i = 0; i < kExamples; ++i) chances.insert(chances.end(), {0.2, 0.8});
  const auto terms = decompose_log(runs, LabelChances{2, chances});
  const auto main = log_sigmoid(1);
  EXPECT_NEAR(terms.variance, 0.0609849 * (1 - 1.0 / kRuns), 0.0005);
  EXPECT_NEAR(terms.bias, 0.8 * (std::log(0.8) - main[1]) + 0.2 * (std::log(0.2) - main[0]), 0.001);
  EXPECT_NEAR(terms.noise, -0.8 * std::log(0.8) - 0.2 * std::log(0.2), 1e-12);
  expect_sum(terms);
}

TEST(LogLoss, RefusesWhatIsNoLogProbability) {
  EXPECT_THROW(decompose_log(std::vector<Values>{{0, -std::numeric_limits<double>::infinity()}}, 2, Labels{0}),
               std::logic_error);
  EXPECT_THROW(decompose_log(std::vector<Values>{{-1, -1}}, 2, Labels{2}), std::logic_error);
  EXPECT_THROW(decompose_log(std::vector<Values>{{-1, -1, -1}}, 2, Labels{1}), std::logic_error);
}

}  // namespace
}  // namespace hopyard::rigor
