// partitions.json: what `hopyard partition` wrote, so that each worker knows the whole and can check its part.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"

namespace hopyard {

struct PartitionFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string digest;  ///< XXH3-128 of its bytes, as 32 hex digits
  bool operator==(const PartitionFile&) const = default;
};

/// Rows of one value of the column that data were cut by.
struct PartitionGroup {
  std::int64_t value = 0;
  std::uint32_t rows = 0;
  bool operator==(const PartitionGroup&) const = default;
};

struct PartitionEntry {
  std::string folder;       ///< beside partitions.json: a data folder
  std::uint32_t begin = 0;  ///< it has the rows at places begin … begin + rows − 1 of the shuffle
  std::uint32_t rows = 0;
  std::vector<PartitionFile> files;
  std::string digest;                  ///< of its files' names and digests
  std::vector<PartitionGroup> groups;  ///< of data cut by groups: those that it has, whole, in the order of its rows
  bool operator==(const PartitionEntry&) const = default;
};

/// The shuffle is permutation(rows, derive(seed, "partitions")): place i has row permutation[i] of the source, as in
/// Partitions(rows, count, seed). Cut by groups, partitions have whole groups, by value, and each group its rows in the
/// order of that permutation: what follows each other is then called the shuffle.
struct PartitionManifest {
  std::uint64_t seed = 0;
  std::uint32_t rows = 0;
  std::string source;         ///< the folder that was cut, as it was named
  std::string source_digest;  ///< of its files
  std::string group_by;       ///< the column whose values were kept together; empty: sizes are within one row
  std::vector<PartitionEntry> partitions;
  bool operator==(const PartitionManifest&) const = default;
};

Json to_json(const PartitionManifest& manifest);
/// Failure(input) that names the file, and the partition, when it is no manifest, or its partitions overlap, leave rows
/// out, differ by more than a row where they were not cut by groups, or are not what their digests say.
PartitionManifest read_partition_manifest(const std::string& folder);

/// What a file is now.
PartitionFile examine_file(const std::string& folder, const std::string& name);
std::string digest_of(const std::vector<PartitionFile>& files);
/// The files of a data folder: dataset.json, then its parts.
std::vector<PartitionFile> examine_data_folder(const std::string& folder);

inline constexpr const char* kPartitionManifest = "partitions.json";

}  // namespace hopyard
