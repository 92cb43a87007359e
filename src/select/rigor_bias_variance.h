// What a recipe's loss is made of: noise, bias and variance over runs that differ by seed or resample. Pure; any
// thread.
//
// predictions[run][example] come from k runs of one recipe on the same validation examples. Expectations over runs are
// the means over these k. The best possible prediction needs the chances of the labels given the input; where only one
// label of each example is known, it stands for the best prediction: noise is 0 then and part of the bias, as in
// Domingos' experiments (see also Valentini and Dietterich, JMLR 5, 2004, section 3). rigor_noise.h estimates that
// part.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hopyard::rigor {

/// Means over examples; loss = noise + bias + variance, to rounding.
struct LossTerms {
  std::uint32_t runs = 0, examples = 0;
  double loss = 0;
  double noise = 0;
  double bias = 0;  ///< squared, for squared loss
  double variance = 0;
  bool operator==(const LossTerms&) const = default;
};

/// P(label | example), chances[example × classes + label]; each example's sum to 1.
struct LabelChances {
  std::uint32_t classes = 0;
  std::vector<double> chances;
};

/// Zero-one loss (Domingos, "A unified bias-variance decomposition and its applications", ICML 2000, section 2,
/// equation 1 and its theorem for several classes):
///   E[L(t, y)] = c1 N(x) + B(x) + c2 V(x)
/// with the main prediction ym = the runs' mode, B = [ym ≠ y*], V = P(y ≠ ym), N = P(t ≠ y*),
/// c1 = P(y = y*) − P(y ≠ y*) P(y = t | t ≠ y*), and c2 = 1 where ym = y*, else −P(y = y* | y ≠ ym).
struct ZeroOneTerms {
  LossTerms terms;               ///< noise: mean of c1 N; variance: net, mean of c2 V = unbiased − biased
  double label_noise = 0;        ///< mean of N: the error of the best possible prediction
  double unbiased_variance = 0;  ///< where the main prediction is right: variance that costs
  double biased_variance = 0;    ///< where it is wrong: P(y = y*), variance that helps
  std::uint32_t tied = 0;        ///< examples whose mode is not unique; the smallest label is taken
  bool operator==(const ZeroOneTerms&) const = default;
};
ZeroOneTerms decompose_zero_one(std::span<const std::vector<std::int64_t>> predictions,
                                std::span<const std::int64_t> labels);
ZeroOneTerms decompose_zero_one(std::span<const std::vector<std::int64_t>> predictions, const LabelChances& chances);

/// Squared loss (Geman, Bienenstock and Doursat, Neural Computation 4, 1992, section 2): (E y − t)² + Var y + noise.
/// Both terms are unbiased for any number of runs k ≥ 2: the variance is divided by k − 1, and 1/k of it is taken off
/// the squared bias, which may so fall below 0 by chance. `noise_variances` (one for each example, or none) is taken
/// off the bias too. One run: variance 0.
LossTerms decompose_squared(std::span<const std::vector<double>> predictions, std::span<const double> targets,
                            std::span<const double> noise_variances = {});

/// Log loss (Heskes, "Bias/variance decompositions for likelihood-based estimators", Neural Computation 10, 1998): the
/// main prediction is the runs' geometric mean, normalised, q ∝ exp(E log q_r) = exp(E log q_r) / Z; noise = H(t), bias
/// = KL(t ‖ q), variance = E KL(q ‖ q_r) = −log Z. log_probabilities[run][example × classes + label], natural, all
/// finite. Nats. Both terms are those of the k runs at hand: the variance is too small by about 1/k, and the bias too
/// large by as much.
LossTerms decompose_log(std::span<const std::vector<double>> log_probabilities, std::uint32_t classes,
                        std::span<const std::int64_t> labels);
LossTerms decompose_log(std::span<const std::vector<double>> log_probabilities, const LabelChances& chances);

}  // namespace hopyard::rigor
