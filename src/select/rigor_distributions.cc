#include "select/rigor_distributions.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "base/failure.h"

namespace hopyard::rigor {
namespace {

constexpr double kStirlingFrom = 15;
constexpr int kFractionTermsMax = 100'000;
constexpr int kHalvingsMax = 2'000;
constexpr double kTiny = 1e-300;

/// The continued fraction of I_x(a, b) by Lentz's method; converges fast for x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  const auto not_zero = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), fraction = d;
  for (int m = 1; m <= kFractionTermsMax; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double factor = 1;
    for (const double term : {even, odd}) {
      d = 1 / not_zero(1 + term * d);
      c = not_zero(1 + term / c);
      factor = c * d;
      fraction *= factor;
    }
    if (std::abs(factor - 1) < std::numeric_limits<double>::epsilon()) return fraction;
  }
  require(false, "the incomplete beta function does not converge at a = ", a, ", b = ", b, ", x = ", x);
  return fraction;
}

/// The x > 0 at which a decreasing function falls to `target`, by halving an interval until no double lies between.
template <class Function>
double fall_to(double target, const Function& function) {
  double low = 0, high = 1;
  for (int i = 0; i < kHalvingsMax && function(high) > target; ++i) {
    low = high;
    high *= 2;
  }
  for (int i = 0; i < kHalvingsMax; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) break;
    (function(middle) > target ? low : high) = middle;
  }
  return high;
}

/// P(T > t) for t ≥ 0: A&S 26.7.1 by way of 26.5.27, without cancellation in the tail.
double student_t_upper(double t, double degrees) {
  return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2;
}

double normal_upper(double z) { return std::erfc(z * std::sqrt(0.5)) / 2; }

void require_inside(double probability) {
  require(probability > 0 && probability < 1, "a quantile needs a probability inside (0, 1), not ", probability);
}

}  // namespace

double log_gamma(double x) {
  require(x > 0, "log_gamma needs x > 0, not ", x);
  double shift = 1;
  for (; x < kStirlingFrom; ++x) shift *= x;
  const double y = 1 / (x * x);
  // Bernoulli numbers B2k / (2k (2k − 1)).
  const double series =
      (1.0 / 12 + y * (-1.0 / 360 + y * (1.0 / 1260 + y * (-1.0 / 1680 + y * (1.0 / 1188 + y * (-691.0 / 360360)))))) /
      x;
  return (x - 0.5) * std::log(x) - x + 0.5 * std::log(2 * std::numbers::pi) + series - std::log(shift);
}

double incomplete_beta(double a, double b, double x) {
  require(a > 0 && b > 0 && x >= 0 && x <= 1, "no incomplete beta function at a = ", a, ", b = ", b, ", x = ", x);
  if (x == 0 || x == 1) return x;
  const double scale = std::exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return scale * beta_fraction(a, b, x) / a;
  return 1 - scale * beta_fraction(b, a, 1 - x) / b;
}

double normal_cdf(double z) { return normal_upper(-z); }

double normal_quantile(double probability) {
  require_inside(probability);
  if (probability == 0.5) return 0;
  if (probability > 0.5) return -normal_quantile(1 - probability);
  return -fall_to(probability, normal_upper);
}

double student_t_cdf(double t, double degrees) {
  require(degrees > 0, "Student's t needs degrees of freedom above 0, not ", degrees);
  const double upper = student_t_upper(std::abs(t), degrees);
  return t > 0 ? 1 - upper : upper;
}

double student_t_quantile(double probability, double degrees) {
  require_inside(probability);
  require(degrees > 0, "Student's t needs degrees of freedom above 0, not ", degrees);
  if (probability == 0.5) return 0;
  if (probability > 0.5) return -student_t_quantile(1 - probability, degrees);
  return -fall_to(probability, [&](double t) { return student_t_upper(t, degrees); });
}

double binomial_mass(std::uint64_t successes, std::uint64_t trials, double chance) {
  if (successes > trials) return 0;
  const auto k = static_cast<double>(successes), n = static_cast<double>(trials);
  return std::exp(log_gamma(n + 1) - log_gamma(k + 1) - log_gamma(n - k + 1) + k * std::log(chance) +
                  (n - k) * std::log1p(-chance));
}

double binomial_cdf(std::uint64_t successes, std::uint64_t trials, double chance) {
  require(chance > 0 && chance < 1, "a binomial chance lies inside (0, 1), not at ", chance);
  if (successes >= trials) return 1;
  return incomplete_beta(static_cast<double>(trials - successes), static_cast<double>(successes) + 1, 1 - chance);
}

}  // namespace hopyard::rigor
