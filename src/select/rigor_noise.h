// The error that no model can avoid, estimated from inputs that occur several times with different labels. Pure; any
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "select/rigor_duplicates.h"
#include "select/rigor_intervals.h"

namespace hopyard::rigor {

/// Two rows of one input disagree with probability D = 1 − Σ p², where p are the chances of its labels, and the best
/// possible prediction errs with e = 1 − max p. Cover and Hart ("Nearest neighbor pattern classification", IEEE
/// Transactions on Information Theory 13, 1967; the risk of their 1-NN rule is D) prove e ≤ D ≤ e (2 − e C / (C − 1))
/// for C classes, also on average over inputs.
struct NoiseFloor {
  std::uint32_t rows_total = 0;
  std::uint32_t rows = 0;            ///< behind the estimate: those in clusters of two or more
  std::uint32_t clusters = 0;        ///< of two or more rows
  std::uint32_t mixed_clusters = 0;  ///< with more than one label
  std::uint32_t classes = 0;
  double disagreement = 0;         ///< D, unbiased: of two rows drawn from a cluster; clusters count by their rows
  Interval disagreement_interval;  ///< Wilson's, over clusters
  /// Irreducible error rate: the least e that D allows, and exactly e where noise is uniform: one rate for all inputs,
  /// the wrong labels equally likely. e = (C − 1) / C · (1 − √(1 − D C / (C − 1))).
  double error_rate = 0;
  Interval error_interval;    ///< follows from disagreement_interval, for uniform noise
  double error_rate_max = 0;  ///< D: the most that noise of another shape allows, at most twice error_rate
  bool operator==(const NoiseFloor&) const = default;
};

/// Nothing when no two rows share a cluster. The estimate is about inputs such as those that repeat; with near
/// duplicates it counts real differences between them as noise too, and is then an upper one. `classes` = 0: as many as
/// there are different labels. Requires one label for each row.
std::optional<NoiseFloor> estimate_noise_floor(const Clusters& clusters, std::span<const std::int64_t> labels,
                                               std::uint32_t classes = 0, double level = kLevel);

}  // namespace hopyard::rigor
