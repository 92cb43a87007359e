// Parzen estimators of one dimension; private to this folder.
#pragma once

#include <vector>

#include "base/rng.h"
#include "select/space.h"

namespace hopyard {

/// A density over the values of one dimension: of a range, a mixture of truncated normal distributions, one around each
/// observation and a wide one over all, the prior; of a list, a mixture of categorical ones. Bergstra et al.,
/// "Algorithms for hyper-parameter optimization", NIPS 2011, section 4, with the widths and weights that Optuna's
/// TPESampler has by default, so that both can be compared: the width of a normal is the larger distance to its
/// neighbours, clipped to range / min(100, 1 + kernels) and range; the latest 25 observations and the prior weigh 1,
/// those before ramp down to 1 / count.
class ParzenEstimator {
 public:
  /// Observations in the order in which their trials were asked for.
  ParzenEstimator(const Dimension& dimension, const std::vector<Coordinate>& observations);
  Coordinate sample(KeyedStream& stream) const;
  double log_density(Coordinate value) const;

 private:
  struct Kernel {
    double weight = 1;  // all sum to 1
    double mean = 0, width = 0, mass = 1;
  };

  double scaled(Coordinate value) const;
  Coordinate unscaled(double value) const;
  double sample_kernel(const Kernel& kernel, double unit) const;
  double kernel_density(const Kernel& kernel, double value) const;
  void set_widths();

  const Dimension& dimension_;
  bool logarithmic_ = false;
  double low_ = 0, high_ = 0, step_ = 0;  // of ranges, in the scale of the kernels
  std::vector<Kernel> kernels_;           // of ranges; the prior last
  std::vector<double> probabilities_;     // of lists
};

}  // namespace hopyard
