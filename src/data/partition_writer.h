// Cutting a data folder into partitions: what `hopyard partition` does.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "data/partition_manifest.h"

namespace hopyard {

struct PartitionRequest {
  std::string data;        ///< a data folder
  std::uint32_t into = 0;  ///< partitions
  std::string out;         ///< a folder that is not there yet
  std::uint64_t seed = 0;
  /// Of a column in a part: so much is in memory at a time, beside 4 bytes for each row; a row at least.
  Bytes part_bytes = 64 * MiB;
  std::string group_by = {};  ///< a column whose equal values stay together; empty: rows go anywhere
};

/// Shuffles the rows once by the seed and writes them as `into` data folders, sizes within one row or, by groups, as
/// pack_groups() makes them, and partitions.json. `out` is there whole and durable, or not at all. Failure(usage) when
/// it is there already, or there are more partitions than rows or groups; Failure(input) for bad data;
/// Failure(capacity) on a full disk.
PartitionManifest write_partitions(const PartitionRequest& request);

}  // namespace hopyard
