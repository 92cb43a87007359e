// A version as a file of its own: what its blobs' bytes are on the disk, and how they get there without a copy.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "spill/disk_tier.h"

namespace hopyard {

/// Direct I/O wants offsets, lengths and addresses in multiples of this.
constexpr Bytes kSector = 4 * KiB;
/// What one checksum covers; the last piece of a blob may be shorter. A thread stages at most one piece.
constexpr Bytes kPiece = kDiskStagingBytes;

/// One blob in a version's file: from `begin`, a multiple of kSector, with a checksum for each piece.
struct StoredBlob {
  std::uint32_t blob = 0;
  Bytes begin = 0, bytes = 0;
  std::vector<std::uint64_t> checksums;
  bool operator==(const StoredBlob&) const = default;
};

/// The end of a DiskFull's sentence where the disk itself is full.
inline constexpr const char* kSpaceNeeded = ": free some space on its disk and run the same command again";

/// What is known of a version outside of its file, and the file is worth nothing without.
struct StoredVersion {
  std::vector<StoredBlob> blobs;  ///< ascending
  const StoredBlob* find(std::uint32_t blob) const;
  Bytes file_bytes() const;
  bool operator==(const StoredVersion&) const = default;
  std::string to_json() const;
  /// Failure(input) names `where` when the text says anything that is not so.
  static StoredVersion from_json(const std::string& text, const std::string& where);
};

/// What a file of these blobs takes.
Bytes version_file_bytes(std::span<const BlobToWrite> blobs);

/// Writes a new file. Bytes that begin at a multiple of kSector go from where they are to the disk; others through the
/// thread's staging memory. Not synced. DiskFull or Failure(input) names the path.
StoredVersion write_version_file(const std::string& path, std::span<const BlobToWrite> blobs, bool direct_io);

/// Fills `out` from a blob's bytes from `offset` on, and checks every piece that it touches. Failure(input) when there
/// are fewer, or others than were written.
void read_version_file(const std::string& path, const StoredBlob& stored, Bytes offset, std::span<std::byte> out,
                       bool direct_io);

}  // namespace hopyard
