#include "select/rigor_paired_tests.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "select/rigor_draws.h"

namespace hopyard::rigor {
namespace {

double share(int count, int of) { return static_cast<double>(count) / of; }

TEST(McNemar, AgreesWithScipy) {
  // scipy 1.17.1: stats.binomtest(b, b + c).pvalue; mid-p from stats.binom by Fagerland et al.'s formula. (1, 7) is
  // their Table 1.
  const struct {
    std::uint64_t only_first, only_second;
    double exact_p, mid_p;
  } table[] = {
      {1, 7, 0.0703125, 0.0390625},
      {0, 6, 0.03125, 0.015625},
      {5, 5, 1.0, 0.876953125},
      {10, 25, 0.016673847800120715, 0.011330984183587134},
      {300, 350, 0.05452994175892356, 0.04995277821288442},
      {25, 10, 0.016673847800120715, 0.011330984183587134},
      {0, 1, 1.0, 0.5},
  };
  for (const auto& [only_first, only_second, exact_p, mid_p] : table) {
    SCOPED_TRACE(testing::Message() << only_first << ' ' << only_second);
    const auto test = mcnemar(only_first, only_second);
    EXPECT_NEAR(test.exact_p, exact_p, 1e-11);
    EXPECT_NEAR(test.mid_p, mid_p, 1e-11);
  }
}

TEST(McNemar, ModelsThatNeverDifferCannotBeToldApart) {
  const auto test = mcnemar(0, 0);
  EXPECT_EQ(test.exact_p, 1);
  EXPECT_EQ(test.mid_p, 1);
}

TEST(McNemar, CountsTheExamplesOnWhichOneIsRight) {
  const std::vector<double> first{1, 1, 0, 0, 1}, second{1, 0, 1, 0, 0};
  EXPECT_EQ(mcnemar(first, second), mcnemar(2, 1));
  EXPECT_THROW(mcnemar(first, std::vector<double>{1}), std::logic_error);
  EXPECT_THROW(mcnemar(first, std::vector<double>{1, 0, 0.5, 0, 0}), std::logic_error);
}

TEST(McNemar, RejectsEqualModelsAboutAsOftenAsItSays) {
  constexpr int kTrials = 6'000;
  constexpr double kAlpha = 0.05;
  KeyedStream stream(5);
  int exact = 0, mid = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto test = mcnemar(tosses(stream, 0.8, 300), tosses(stream, 0.8, 300));
    exact += test.exact_p <= kAlpha;
    mid += test.mid_p <= kAlpha;
  }
  const double error = std::sqrt(kAlpha * (1 - kAlpha) / kTrials);
  EXPECT_LT(share(exact, kTrials), kAlpha);
  EXPECT_NEAR(share(mid, kTrials), kAlpha, 4 * error);
  EXPECT_GT(mid, exact);
}

TEST(PairedBootstrap, AgreesWithScipysPairedT) {
  // scipy 1.17.1: stats.ttest_rel(a, b) and its confidence_interval().
  std::vector<double> a, b;
  for (int i = 0; i < 60; ++i) {
    a.push_back(std::abs(std::sin(i * 1.7)) * 2 + 0.3 * std::cos(i * 0.9));
    b.push_back(std::abs(std::sin(i * 1.7)) * 2 + 0.25 * std::sin(i * 2.3) + 0.12);
  }
  const std::vector<Contestant> both{{"a", {a}}, {"b", {b}}};
  const auto test = PairedBootstrap(both, 1, 100'000).compare(0, 1);
  EXPECT_NEAR(test.difference, -0.11881835590482089, 1e-14);
  // The bootstrap's error has n, not n − 1, below the line, and 0.2 % of chance in it.
  EXPECT_NEAR(test.standard_error, 0.03550898658131214, 0.01 * 0.0355);
  EXPECT_DOUBLE_EQ(test.degrees, 59);
  EXPECT_NEAR(test.p, 0.0015560324094953575, 0.0003);
  EXPECT_NEAR(test.interval.low, -0.19047129062450638, 0.002);
  EXPECT_NEAR(test.interval.high, -0.04716542118513539, 0.002);
}

TEST(PairedBootstrap, IsAntisymmetricAndFollowsFromTheSeed) {
  KeyedStream stream(8);
  const std::vector<Contestant> contestants{{"a", {tosses(stream, 0.7, 50), tosses(stream, 0.7, 50)}},
                                            {"b", {tosses(stream, 0.5, 50)}}};
  const PairedBootstrap bootstrap(contestants, 1, 200);
  const auto forth = bootstrap.compare(0, 1), back = bootstrap.compare(1, 0);
  EXPECT_EQ(forth, PairedBootstrap(contestants, 1, 200).compare(0, 1));
  EXPECT_NE(forth, PairedBootstrap(contestants, 2, 200).compare(0, 1));
  EXPECT_EQ(forth.difference, -back.difference);
  EXPECT_DOUBLE_EQ(forth.p, back.p);
  EXPECT_EQ(bootstrap.compare(0, 0).p, 1);
}

TEST(PairedBootstrap, WhoElseIsComparedChangesNothing) {
  KeyedStream stream(8);
  const Contestant a{"a", {tosses(stream, 0.7, 50), tosses(stream, 0.7, 50)}}, b{"b", {tosses(stream, 0.5, 50)}},
      c{"c", {tosses(stream, 0.6, 50)}};
  EXPECT_EQ(PairedBootstrap(std::vector{a, b, c}, 1, 200).compare(0, 2),
            PairedBootstrap(std::vector{c, a}, 1, 200).compare(1, 0));
}

TEST(PairedBootstrap, AConstantDifferenceIsCertain) {
  const std::vector<Contestant> contestants{{"a", {{1, 2, 3}}}, {"b", {{1, 2, 3}}}, {"c", {{0, 1, 2}}}};
  const PairedBootstrap bootstrap(contestants, 1, 100);
  EXPECT_EQ(bootstrap.compare(0, 1).p, 1);
  EXPECT_LT(bootstrap.compare(0, 2).p, 1e-10);
}

TEST(PairedBootstrap, TheErrorIsThatOfExamplesAndRunsTogether) {
  // Scores are example + luck of the run: the variance of the mean is Σ (example − mean)² / n² + s² / k of the luck.
  const double lucks[] = {-0.02, 0.02};
  std::vector<Contestant> both{{"a", {{}, {}}}, {"zero", {std::vector<double>(100)}}};
  for (int run = 0; run < 2; ++run)
    for (int i = 0; i < 100; ++i) both[0].runs[run].push_back((i % 2 == 0 ? 0.2 : -0.2) + lucks[run]);
  const auto test = PairedBootstrap(both, 1, 20'000).compare(0, 1);
  const double by_examples = 0.2 * 0.2 / 100, by_runs = (2 * 0.02 * 0.02) / 2;
  EXPECT_NEAR(test.standard_error, std::sqrt(by_examples + by_runs), 0.02 * std::sqrt(by_examples + by_runs));
  // Satterthwaite: equal parts with 99 degrees and 1.
  EXPECT_NEAR(test.degrees, 4 / (1.0 / 99 + 1), 0.3);
}

TEST(PairedBootstrap, RefusesScoresThatDoNotMatch) {
  EXPECT_THROW(PairedBootstrap({}, 1), std::logic_error);
  EXPECT_THROW(PairedBootstrap(std::vector<Contestant>{{"a", {{1, 0}, {1}}}}, 1), std::logic_error);
  EXPECT_THROW(PairedBootstrap(std::vector<Contestant>{{"a", {{1, 0}}}, {"b", {}}}, 1), std::logic_error);
  EXPECT_THROW(PairedBootstrap(std::vector<Contestant>{{"a", {{1, std::nan("")}}}}, 1), std::logic_error);
}

TEST(PairedBootstrap, RejectsEqualSkewedLossesAboutAsOftenAsItSays) {
  constexpr int kTrials = 1'000;
  KeyedStream stream(6);
  int rejected = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<Contestant> both{{"a", {{}}}, {"b", {{}}}};
    for (int i = 0; i < 200; ++i) {
      const double hardness = std::exp(normal_draw(stream));
      for (auto& contestant : both) contestant.runs[0].push_back(hardness * std::exp(0.5 * normal_draw(stream)));
    }
    rejected += PairedBootstrap(both, static_cast<std::uint64_t>(trial), 300).compare(0, 1).p <= 0.05;
  }
  EXPECT_NEAR(share(rejected, kTrials), 0.05, 4 * std::sqrt(0.05 * 0.95 / kTrials));
}

/// A recipe's runs: each example's score has a part that all runs of all recipes share, one of the run and one of its
/// own.
Contestant recipe(const std::string& id, int runs, const std::vector<double>& examples, double run_deviation,
                  KeyedStream& stream) {
  Contestant contestant{id, {}};
  for (int run = 0; run < runs; ++run) {
    const double luck = run_deviation * normal_draw(stream);
    auto& scores = contestant.runs.emplace_back();
    for (const double example : examples) scores.push_back(example + luck + 0.3 * normal_draw(stream));
  }
  return contestant;
}

/// How often equal recipes of `runs` runs each are told apart at 5 %.
double rejected_share(int runs, double run_deviation, int trials) {
  KeyedStream stream(7);
  int rejected = 0;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<double> examples(100);
    for (double& example : examples) example = normal_draw(stream);
    const std::vector<Contestant> both{recipe("a", runs, examples, run_deviation, stream),
                                       recipe("b", runs, examples, run_deviation, stream)};
    rejected += PairedBootstrap(both, static_cast<std::uint64_t>(trial), 200).compare(0, 1).p <= 0.05;
  }
  return share(rejected, trials);
}

TEST(PairedBootstrap, RejectsEqualRecipesNoMoreOftenThanItSays) {
  constexpr int kTrials = 1'000;
  const double tolerance = 4 * std::sqrt(0.05 * 0.95 / kTrials);
  for (const int runs : {2, 3, 5}) {
    EXPECT_LE(rejected_share(runs, 0.1, kTrials), 0.05 + tolerance) << runs << " runs, luck of seeds large";
    EXPECT_LE(rejected_share(runs, 0, kTrials), 0.05 + tolerance) << runs << " runs, no luck";
  }
  EXPECT_GE(rejected_share(5, 0.1, kTrials), 0.05 - tolerance);  // and is not merely timid
}

TEST(Holm, AgreesWithItsDefinition) {
  // R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") documents the same steps: 0.005·4, 0.01·3, 0.03·2, max(0.04·1,
  // 0.06).
  const auto corrected = holm(std::vector<double>{0.01, 0.04, 0.03, 0.005});
  const double expected[] = {0.03, 0.06, 0.06, 0.02};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(corrected[i], expected[i]);
  EXPECT_TRUE(holm({}).empty());
}

TEST(Holm, KeepsTheOrderAndLiesBetweenPAndBonferroni) {
  KeyedStream stream(9);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> p(1 + stream.below(12));
    for (double& value : p) value = std::pow(stream.uniform(), 3);
    const std::size_t hypotheses = p.size() + stream.below(10);
    const auto corrected = holm(p), wider = holm(p, hypotheses);
    for (std::size_t i = 0; i < p.size(); ++i) {
      EXPECT_GE(corrected[i], p[i]);
      EXPECT_LE(corrected[i], std::min(1.0, static_cast<double>(p.size()) * p[i]));
      EXPECT_GE(wider[i], corrected[i]);
      for (std::size_t j = 0; j < p.size(); ++j) EXPECT_TRUE(p[i] >= p[j] || corrected[i] <= corrected[j]);
    }
  }
}

TEST(Holm, KeepsTheChanceOfAnyFalseDifference) {
  constexpr int kTrials = 20'000;
  KeyedStream stream(10);
  int any = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> p(10);
    for (double& value : p) value = stream.uniform();
    const auto corrected = holm(p);
    any += std::any_of(corrected.begin(), corrected.end(), [](double value) { return value <= 0.05; });
  }
  // 1 − (1 − 0.05 / 10)^10 for independent tests.
  EXPECT_NEAR(share(any, kTrials), 0.0489, 4 * std::sqrt(0.05 * 0.95 / kTrials));
}

}  // namespace
}  // namespace hopyard::rigor
