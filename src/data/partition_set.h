// A data set that `hopyard partition` cut: a folder with partitions.json and a data folder for each partition, of which
// a worker has some.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "data/dataset.h"
#include "data/partition_manifest.h"

namespace hopyard {

/// Opening reads partitions.json alone, and so knows the whole, whichever partitions are here. Thread-safe.
class PartitionSet {
 public:
  /// Failure(input) as read_partition_manifest.
  explicit PartitionSet(const std::string& folder);
  /// Whether a folder is one; a data folder is not.
  static bool is_one(const std::string& folder);

  std::uint32_t count() const { return static_cast<std::uint32_t>(manifest_.partitions.size()); }
  std::uint32_t rows() const { return manifest_.rows; }  ///< of all
  std::uint32_t rows(std::uint32_t partition) const { return manifest_.partitions.at(partition).rows; }
  Bytes bytes(std::uint32_t partition) const;  ///< of its files
  const PartitionManifest& manifest() const { return manifest_; }
  const std::string& folder() const { return folder_; }
  /// Equal for workers whose partitions are of one set.
  const std::string& digest() const { return digest_; }

  /// Failure(input) when there are fewer partitions than workers.
  void check_workers(std::uint32_t workers) const;
  /// Reads the partition's files once; Failure(input) names it and the file when one is missing or was altered since it
  /// was written.
  void check(std::uint32_t partition) const;
  /// A table of all rows() in the order of the shuffle, of which these partitions (ascending) are here and checked, and
  /// no file of another one is touched.
  std::shared_ptr<const Dataset> open(std::span<const std::uint32_t> partitions) const;
  /// The rows of that table, by partition. `order_seed` decides the order within each for each epoch. With that of the
  /// set, the same rows in the same order as Partitions of the uncut source.
  Partitions partitions(std::uint64_t order_seed) const;

 private:
  std::string path_of(std::uint32_t partition) const;

  std::string folder_, digest_;
  PartitionManifest manifest_;
};

}  // namespace hopyard
