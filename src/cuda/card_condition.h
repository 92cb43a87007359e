// How a card fared over a run, as its driver tells.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// Means and peaks are over samples; energy is the card's own meter. What the driver did not tell is nothing.
struct CardCondition {
  std::uint64_t samples = 0;
  std::optional<double> sm_mhz_mean, sm_mhz_least, sm_mhz_max;  ///< `max`: the fastest that the card knows
  std::optional<double> power_w_mean, power_w_peak, power_limit_w;
  std::optional<double> energy_j;
  std::optional<double> celsius_peak;
  std::optional<Bytes> memory_peak, memory;  ///< of all that use the card; and what it has
  /// Why its clocks were lower than they could be, and in what share of the samples.
  std::vector<std::pair<std::string, double>> slowed_by;
  bool operator==(const CardCondition&) const = default;
};

}  // namespace hopyard
