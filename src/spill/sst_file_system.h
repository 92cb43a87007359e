// The file system under RocksDB: how SST files reach the disk and what is synced.
#pragma once

#include <memory>

#include <rocksdb/env.h>

namespace hopyard {

struct SstFileSystemOptions {
  bool synced = true;     ///< false: no file is ever synced, for what a crash may take or what is synced later by name
  bool direct_io = true;  ///< SST files pass the page cache by, through staging memory in huge pages
};

/// The usual file system but for these two things, for which RocksDB has no options: SstFileWriter and the manifest
/// always sync, and direct I/O goes through heap memory in small pages. Each thread that reads or writes SST files
/// keeps kDiskStagingBytes (disk_tier.h) while it lives.
std::unique_ptr<rocksdb::Env> make_sst_env(const SstFileSystemOptions& options);

}  // namespace hopyard
