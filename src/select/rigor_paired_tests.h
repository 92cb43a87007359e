// Tests of two models on the same examples, and their correction when there are many. Values in, values out; any
// thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "select/rigor_intervals.h"

namespace hopyard::rigor {

/// McNemar's test (Psychometrika 12, 1947) of two models that are right or wrong on each example. Only the examples
/// count on which they differ; under the null hypothesis either is right on half of them, n = only_first + only_second.
struct McNemarTest {
  std::uint64_t only_first = 0;   ///< examples on which only the first is right
  std::uint64_t only_second = 0;  ///< on which only the second is right
  double exact_p = 1;             ///< 2 · P(X ≤ min), X ~ Binomial(n, ½), at most 1: never too often significant
  /// exact_p − P(X = min); 1 − P(X = min) / 2 when both are equal. Fagerland, Lydersen and Laake ("The McNemar test for
  /// binary matched-pairs data: mid-p and asymptotic are better than exact conditional", BMC Medical Research
  /// Methodology 13:91, 2013) recommend it: nearly exact in level, and less timid.
  double mid_p = 1;
  bool operator==(const McNemarTest&) const = default;
};
McNemarTest mcnemar(std::uint64_t only_first, std::uint64_t only_second);
/// Scores are 1 (right) or 0 (wrong), example by example.
McNemarTest mcnemar(std::span<const double> first, std::span<const double> second);

/// A trial, or the runs of a group, with the score of each validation example: runs[run][example]. Larger or smaller is
/// better, as the caller has it; the same examples in the same order in each run.
struct Contestant {
  std::string id;
  std::vector<std::vector<double>> runs;
};

/// The difference of two contestants' mean scores, first minus second.
struct PairedTest {
  double difference = 0;
  double standard_error = 0;
  double degrees = 0;  ///< of freedom
  double p = 1;        ///< two-sided
  Interval interval;   ///< of the difference, at kLevel
  bool operator==(const PairedTest&) const = default;
};

/// The paired bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6; for NLP: Koehn, EMNLP
/// 2004) of contestants, on common draws of examples. A group's runs are drawn too, as in the Multi-Bootstrap (Sellam
/// et al., "The MultiBERTs: BERT reproductions for robustness analysis", ICLR 2022), so that its p is about the recipe;
/// a single run's is about that very model. Their deviations are stretched by √(k / (k − 1)) (Rao and Wu, JASA 83,
/// 1988, section 2), for k runs drawn with replacement vary too little. The bootstrap gives the standard error; p and
/// interval come from Student's t with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946) over three
/// parts: examples, first's runs, second's runs. Counting draws instead could give no p below 1 / (resamples + 1), too
/// coarse to be corrected for a hundred trials, and ignores how few the runs are. Holds the draws of all contestants,
/// so that any two can be compared. Costs resamples × examples × (runs of all). Requires at least 2 examples, as many
/// in each run, finite scores. Immutable after construction.
class PairedBootstrap {
 public:
  PairedBootstrap(std::span<const Contestant> contestants, std::uint64_t seed, std::uint32_t resamples = kResamples);
  PairedTest compare(std::size_t first, std::size_t second) const;

 private:
  struct Drawn {
    double mean = 0;
    double run_variance = 0;  // of the mean, by its runs; 0 for one run
    double run_degrees = 0;
    std::vector<double> means;  // one for each resample
  };
  double degrees(const Drawn& first, const Drawn& second, double variance) const;

  std::size_t examples_ = 0;
  std::vector<Drawn> drawn_;
};

/// Holm's step-down correction ("A simple sequentially rejective multiple test procedure", Scandinavian Journal of
/// Statistics 6, 1979): the i-th smallest of m p-values, from 0, becomes max over j ≤ i of (m − j) · p_j, at most 1.
/// Keeps the chance of any false difference at α whatever the tests' dependence. `hypotheses` > p.size() counts
/// comparisons that are not here; the result is then at least what a correction of all of them would give. In the order
/// of `p`.
std::vector<double> holm(std::span<const double> p, std::size_t hypotheses = 0);

}  // namespace hopyard::rigor
