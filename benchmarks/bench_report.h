// One row of bench.json and of the table that `make bench` prints.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hopyard {

struct BenchRow {
  std::string name;
  double value = 0;
  std::string unit;            ///< "ratio", "µs"
  std::optional<double> must;  ///< what it must reach; none when it is only shown
  std::optional<double> aim;
  bool less_is_better = true;
  std::string detail;  ///< spread, conditions, what it was measured against
  bool holds() const { return !must || (less_is_better ? value <= *must : value >= *must); }
};

/// How much to run: quick is for smoke tests, whose figures mean nothing.
struct BenchScale {
  bool quick = false;
  std::uint32_t sharing_rows = 320;  ///< that the sweeps of the group sharing train on
  int rounds() const { return quick ? 1 : 5; }
};

}  // namespace hopyard
