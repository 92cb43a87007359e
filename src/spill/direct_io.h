// Direct I/O through staging memory in huge pages.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "spill/disk_tier.h"

namespace hopyard {

constexpr Bytes kSector = 4 * KiB;  ///< O_DIRECT wants offsets, lengths and addresses in multiples of this
constexpr Bytes kReadSlot = kDiskStagingBytes / 4;   ///< a thread has two: the longest read
constexpr Bytes kWriteSlot = kDiskStagingBytes / 2;  ///< a thread has one

/// A file opened for direct reading. Reads go through staging memory of the calling thread; any thread may read. A read
/// that nearly fills a slot is a piece of something longer: the next piece is read ahead while the thread uses this
/// one. The file may be closed by any thread meanwhile. What is read ahead may be older than the read that takes it.
class DirectReader {
 public:
  /// `file`: a descriptor, which it owns.
  explicit DirectReader(int file);
  ~DirectReader();
  DirectReader(const DirectReader&) = delete;

  /// Requires that the range, widened to whole sectors, fits a slot. Returns how many bytes there are (fewer at the
  /// file's end) or −errno. `*data` is valid until the thread reads again.
  long read(Bytes offset, Bytes size, const char** data) const;

 private:
  const int file_;
  const std::uint64_t id_;  // never used twice, as descriptors and addresses are
};

/// A new file written through staging memory of the calling thread, which writes one file at a time.
class DirectWriter {
 public:
  explicit DirectWriter(int file) : file_(file) {}
  ~DirectWriter();
  DirectWriter(const DirectWriter&) = delete;

  /// Both return 0 or an errno.
  int append(const char* data, Bytes size);
  int close();
  Bytes size() const { return written_ + staged_; }

 private:
  int write_staged(Bytes size);

  int file_;
  Bytes written_ = 0, staged_ = 0;  // on the disk; in staging memory
};

}  // namespace hopyard
