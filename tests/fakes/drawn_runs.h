// How many runs are drawn by tests that draw them by seed.
#pragma once

#include <cstdint>
#include <string>

#include "base/environment.h"

namespace hopyard::fakes {

/// HOPYARD_DRAWN_RUNS where it is set, as tools/nightly does; otherwise as many as a test has time for.
inline std::uint64_t drawn_runs(std::uint64_t otherwise) {
  const auto asked = environment_variable("HOPYARD_DRAWN_RUNS");
  return asked ? std::stoull(*asked) : otherwise;
}

}  // namespace hopyard::fakes
