// The disk tier: versions of blobs. A version is one file, written once and dropped as a whole; RocksDB says which ones
// are durable. Version numbers are never used twice, also after a crash.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/failure.h"

namespace hopyard {

using Version = std::uint64_t;

/// Bytes to be stored, and the blob id under which read() finds them.
struct BlobToWrite {
  std::uint32_t blob = 0;
  std::span<const std::byte> bytes;
};

enum class Durability {
  spilled,
  durable
};  ///< spilled: may be lost in a crash; durable: survives it once write() returned

struct DiskCounters {
  Bytes written = 0, read = 0;                 ///< payload
  double write_seconds = 0, read_seconds = 0;  ///< summed over threads
};

/// Nothing more can be written: the granted capacity or the disk itself is full. What was written stays readable, so a
/// run ends with it and goes on where there is room. The sentence names the folder.
class DiskFull : public Failure {
 public:
  explicit DiskFull(const std::string& sentence) : Failure(ExitCode::capacity, sentence) {}
};

/// One implementation over RocksDB (rocks_disk_tier.cc), one fake in tests/fakes; both pass tests/conformance.
/// Thread-safe: several writes and reads may be in flight. I/O errors and corruption throw Failure, DiskFull when the
/// disk is full or the granted capacity would be exceeded.
class DiskTier {
 public:
  virtual ~DiskTier() = default;
  /// Stores the blobs as one new version. `blobs` in ascending blob order, not empty.
  virtual Version write(std::span<const BlobToWrite> blobs, Durability durability) = 0;
  /// Makes a spilled version survive a crash, as if it had been written durable; on return it does. Its bytes are not
  /// written again. Requires that the version exists; a durable one stays as it is.
  virtual void make_durable(Version version) = 0;
  /// Fills `out` from a blob's bytes starting at `offset`. Checked (XXH3 of each piece); throws when anything is amiss.
  virtual void read(Version version, std::uint32_t blob, Bytes offset, std::span<std::byte> out) const = 0;
  /// Forgets a version; its file goes away. Dropping an unknown version does nothing.
  virtual void drop(Version version) = 0;
  /// After a crash: forgets all versions but these. Throws when one of these is missing.
  virtual void keep_only(const std::set<Version>& versions) = 0;
  virtual std::vector<Version> versions() const = 0;
  virtual Bytes capacity() const = 0;
  virtual Bytes used() const = 0;
  virtual Bytes peak() const = 0;
  virtual DiskCounters counters() const = 0;
};

/// Memory that each thread holds once it has read or written through the disk tier: not reserved here, but by whoever
/// runs the threads.
constexpr Bytes kDiskStagingBytes = 4 * MiB;

/// The folder holds a file for each version and a RocksDB database, in which each durable version has an entry: its
/// blobs, where they are in the file, and checksums. What has no entry is gone at the next opening. Bytes are counted
/// by the sizes of the files; RocksDB's own bookkeeping (at most a few MiB) is not.
struct RocksOptions {
  std::string folder;  ///< made if need be; belongs to one process at a time
  Bytes capacity = 8 * GiB;
  bool direct_io = true;  ///< falls back with a warning where the file system refuses O_DIRECT
};
std::unique_ptr<DiskTier> open_rocks_disk_tier(const RocksOptions& options);

}  // namespace hopyard
