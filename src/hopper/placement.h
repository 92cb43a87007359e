// Which workers are home of which partitions. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hopper/bits.h"

namespace hopyard {

/// For each partition its homes, ascending: the workers that have its files.
struct Placement {
  std::uint32_t workers = 0;
  std::vector<std::vector<std::uint32_t>> homes;
  std::vector<std::uint32_t> partitions_of(std::uint32_t worker) const;
  bool operator==(const Placement&) const = default;
};

/// `replication` homes for each partition. Workers' numbers of partitions differ by at most one, and the partitions of
/// one worker have their other homes on as many workers as can be, so that its work is spread when it dies.
/// Failure(usage) when there are fewer partitions than workers, no worker, or no room for so many homes.
Placement place_partitions(std::uint32_t partitions, std::uint32_t workers, std::uint32_t replication);

/// Partitions all of whose homes are outside `alive` (by worker), ascending.
std::vector<std::uint32_t> homeless(const Placement& placement, const Bits& alive);
/// "partition 3 has no living home: workers 1, 4 are not here"; of several partitions, the first, and how many more.
/// Empty when each has one.
std::string describe_homeless(const Placement& placement, const Bits& alive);

}  // namespace hopyard
