// Versions as SST files in one RocksDB database: the part of the disk tier that speaks RocksDB.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>

#include <rocksdb/db.h>

#include "base/bytes.h"
#include "spill/disk_tier.h"

namespace hopyard {

/// One database that holds nothing but ingested SST files in its bottom level, one for each version: no memtable, no
/// write-ahead log, no compaction. Keys are big-endian (version u64, blob u32, chunk u32); a value is a chunk of
/// kChunkBytes (the last one of a blob may be shorter) in a block of its own. The first and the last entry of a file
/// are empty marks, since ingestion reads the first and the last block of a file. Thread-safe; errors throw Failure.
class SstStore {
 public:
  /// With its key and its checksum, and rounded outwards to sectors, at most the 4 MiB that a disk takes as one
  /// request.
  static constexpr Bytes kChunkBytes = 4 * MiB - 8 * KiB;

  /// Opens or creates. `synced` false: nothing here survives a crash of the machine.
  SstStore(const std::string& folder, bool synced, bool direct_io);
  ~SstStore();

  /// Writes `path`, an SST file outside of the database. Returns its size. Not synced: ingest() does that.
  Bytes write_file(const std::string& path, Version version, std::span<const BlobToWrite> blobs) const;
  /// Moves the file in; when it returns, a synced store has made file and manifest durable.
  void ingest(const std::string& path);
  void read(Version version, std::uint32_t blob, Bytes offset, std::span<std::byte> out) const;
  void drop(Version version);
  /// Gives the file of a version a second name, `path`, on the same file system.
  void link_file(Version version, const std::string& path) const;
  /// Every version with the bytes of its file.
  std::map<Version, Bytes> versions() const;

  /// What a file of these blobs takes at most.
  static Bytes file_bytes_max(std::span<const BlobToWrite> blobs);

 private:
  [[noreturn]] void fail_on(const rocksdb::Status& status, const std::string& doing) const;

  const std::string folder_;
  const std::unique_ptr<rocksdb::Env> writer_env_, db_env_;
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace hopyard
