// Draws that the tests of the rigor statistics share.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "base/rng.h"

namespace hopyard::rigor {

/// Standard normal (Box and Muller 1958).
inline double normal_draw(KeyedStream& stream) {
  const double radius = std::sqrt(-2 * std::log(1 - stream.uniform()));
  return radius * std::cos(2 * std::numbers::pi * stream.uniform());
}

/// 1 with probability `chance`, else 0.
inline double toss(KeyedStream& stream, double chance) { return stream.uniform() < chance ? 1 : 0; }

inline std::vector<double> tosses(KeyedStream& stream, double chance, std::size_t count) {
  std::vector<double> values(count);
  for (double& value : values) value = toss(stream, chance);
  return values;
}

}  // namespace hopyard::rigor
