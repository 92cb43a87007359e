// What is known of durable versions: a small RocksDB database. The only part of Hopyard that speaks RocksDB.
#pragma once

#include <map>
#include <memory>
#include <string>

#include <rocksdb/db.h>

#include "spill/disk_tier.h"
#include "spill/version_file.h"

namespace hopyard {

/// Keys are version numbers, big end first; values are StoredVersion as JSON. Belongs to one process at a time.
/// Thread-safe; errors throw Failure, DiskFull when the disk is full.
class VersionIndex {
 public:
  explicit VersionIndex(const std::string& folder);  ///< opens or creates
  ~VersionIndex();
  void put(Version version, const StoredVersion& stored);  ///< durable on return
  void remove(Version version);                            ///< may come back after a crash of the machine
  std::map<Version, StoredVersion> all() const;

 private:
  void check(const rocksdb::Status& status, const char* doing) const;

  const std::string folder_;
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace hopyard
