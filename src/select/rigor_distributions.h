// The distributions that the intervals and tests of this folder need. Values in, values out; any thread.
//
// Incomplete beta function: the continued fraction DLMF 8.17.22 (https://dlmf.nist.gov/8.17), evaluated by Lentz's
// method (Press et al., Numerical Recipes, 3rd ed. 2007, section 6.4). Student's t: Abramowitz and Stegun 26.7.1.
// Binomial: DLMF 8.17.24. Tests hold all of them against scipy.
#pragma once

#include <cstdint>

namespace hopyard::rigor {

/// log Γ(x) for x > 0, to 1e-14 of max(1, |log Γ(x)|): Stirling's series (DLMF 5.11.1), shifted to x ≥ 15.
double log_gamma(double x);

/// I_x(a, b), the regularised incomplete beta function, for a, b > 0 and 0 ≤ x ≤ 1. Relative error below 1e-11 up to
/// a + b = 1e4, below 1e-9 up to 1e6.
double incomplete_beta(double a, double b, double x);

double normal_cdf(double z);
/// For 0 < probability < 1; relative error below 1e-12.
double normal_quantile(double probability);

double student_t_cdf(double t, double degrees);
/// For 0 < probability < 1 and degrees > 0; relative error below 1e-10 up to 1e4 degrees.
double student_t_quantile(double probability, double degrees);

/// P(X = successes) and P(X ≤ successes) of `trials` tosses that succeed with `chance`, 0 < chance < 1.
double binomial_mass(std::uint64_t successes, std::uint64_t trials, double chance);
double binomial_cdf(std::uint64_t successes, std::uint64_t trials, double chance);

}  // namespace hopyard::rigor
