#include "select/parzen.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "select/rigor_distributions.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using rigor::normal_cdf;

constexpr double kPriorWeight = 1;
constexpr std::size_t kFullWeights = 25;
constexpr int kBisections = 60;  // more than a double's bits below the range
// So many widths away a kernel is less than a rounding of the prior's part; with many observations, most are.
constexpr double kFarWidths = 10;

/// Weights of `count` observations and the prior, summing to 1.
std::vector<double> weights(std::size_t count) {
  std::vector<double> all(count, 1.0);
  const std::size_t ramp = count < kFullWeights ? 0 : count - kFullWeights;
  const double first = 1.0 / static_cast<double>(count);
  for (std::size_t i = 0; i < ramp; ++i)
    all[i] = ramp == 1 ? first : first + (1 - first) * static_cast<double>(i) / static_cast<double>(ramp - 1);
  all.push_back(count == 0 ? 1 : kPriorWeight);
  const double sum = std::accumulate(all.begin(), all.end(), 0.0);
  for (double& weight : all) weight /= sum;
  return all;
}

/// The mixture of categorical kernels as one distribution: each kernel has its observed value and the prior's share of
/// all values.
std::vector<double> list_probabilities(std::size_t values, const std::vector<Coordinate>& observations) {
  const auto weight = weights(observations.size());
  const double kernels = static_cast<double>(weight.size());
  const double share = kPriorWeight / kernels, row = 1 + share * static_cast<double>(values);
  std::vector<double> probabilities(values, weight.back() / static_cast<double>(values));
  for (std::size_t i = 0; i < observations.size(); ++i) {
    for (double& probability : probabilities) probability += weight[i] * share / row;
    probabilities[static_cast<std::size_t>(observations[i])] += weight[i] / row;
  }
  return probabilities;
}

/// The place in `shares`, which sum to 1, at which their running sum passes `unit`.
template <class Shares, class ShareOf>
std::size_t pick(const Shares& shares, double unit, ShareOf share_of) {
  std::size_t place = 0;
  for (double sum = share_of(shares[0]); sum <= unit && place + 1 < shares.size(); sum += share_of(shares[place]))
    ++place;
  return place;
}

}  // namespace

ParzenEstimator::ParzenEstimator(const Dimension& dimension, const std::vector<Coordinate>& observations)
    : dimension_(dimension) {
  if (is_list(dimension)) {
    probabilities_ = list_probabilities(count_values(dimension), observations);
    return;
  }
  logarithmic_ = dimension.kind == Kind::loguniform;
  if (logarithmic_) {
    const auto [low, high] = widened_ends(dimension);
    low_ = std::log(low), high_ = std::log(high);
  } else {
    low_ = dimension.low, high_ = dimension.high;
    step_ = dimension.kind == Kind::integer ? std::max(1.0, dimension.step) : dimension.step;
  }
  const auto weight = weights(observations.size());
  for (std::size_t i = 0; i < observations.size(); ++i) kernels_.push_back({weight[i], scaled(observations[i])});
  kernels_.push_back({weight.back(), 0.5 * (low_ + high_)});
  set_widths();
}

void ParzenEstimator::set_widths() {
  const double range = high_ - low_ + step_;
  const double width_min = range / std::min(100.0, 1.0 + static_cast<double>(kernels_.size()));
  std::vector<Kernel*> sorted;
  for (Kernel& kernel : kernels_) sorted.push_back(&kernel);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Kernel* a, const Kernel* b) { return a->mean < b->mean; });
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const bool first = i == 0, last = i + 1 == sorted.size();
    double below = sorted[i]->mean - (first ? low_ - step_ / 2 : sorted[i - 1]->mean);
    double above = (last ? high_ + step_ / 2 : sorted[i + 1]->mean) - sorted[i]->mean;
    // The ends of the range are no neighbours where there are others.
    if (sorted.size() > 1 && first) below = above;
    if (sorted.size() > 1 && last) above = below;
    sorted[i]->width = std::clamp(std::max(below, above), width_min, range);
  }
  kernels_.back().width = range;
  for (Kernel& kernel : kernels_)
    kernel.mass = normal_cdf((high_ + step_ / 2 - kernel.mean) / kernel.width) -
                  normal_cdf((low_ - step_ / 2 - kernel.mean) / kernel.width);
}

double ParzenEstimator::scaled(Coordinate value) const { return logarithmic_ ? std::log(value) : value; }
Coordinate ParzenEstimator::unscaled(double value) const {
  return nearest(dimension_, logarithmic_ ? std::exp(value) : value);
}

/// Inverts the truncated normal's distribution function by bisection.
double ParzenEstimator::sample_kernel(const Kernel& kernel, double unit) const {
  double low = low_ - step_ / 2, high = high_ + step_ / 2;
  const double wanted = normal_cdf((low - kernel.mean) / kernel.width) + unit * kernel.mass;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = 0.5 * (low + high);
    (normal_cdf((middle - kernel.mean) / kernel.width) < wanted ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

Coordinate ParzenEstimator::sample(KeyedStream& stream) const {
  if (is_list(dimension_))
    return static_cast<Coordinate>(pick(probabilities_, stream.uniform(), [](double share) { return share; }));
  const std::size_t chosen = pick(kernels_, stream.uniform(), [](const Kernel& kernel) { return kernel.weight; });
  return unscaled(sample_kernel(kernels_[chosen], stream.uniform()));
}

double ParzenEstimator::kernel_density(const Kernel& kernel, double value) const {
  const double x = (value - kernel.mean) / kernel.width;
  const double half = step_ / 2 / kernel.width;
  if (std::abs(x) > kFarWidths + half) return 0;
  if (step_ > 0) {
    return (normal_cdf(x + half) - normal_cdf(x - half)) / kernel.mass;
  }
  constexpr double kInverseSqrtTwoPi = 0.3989422804014327;
  return kInverseSqrtTwoPi * std::exp(-0.5 * x * x) / (kernel.width * kernel.mass);
}

double ParzenEstimator::log_density(Coordinate coordinate) const {
  if (is_list(dimension_)) return std::log(probabilities_[static_cast<std::size_t>(coordinate)]);
  const double value = scaled(coordinate);
  double density = 0;  // the prior's part keeps it above 0
  for (const Kernel& kernel : kernels_) density += kernel.weight * kernel_density(kernel, value);
  return std::log(density);
}

}  // namespace hopyard
