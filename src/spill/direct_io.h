// Direct I/O through staging memory in huge pages.
#pragma once

#include "base/bytes.h"
#include "spill/disk_tier.h"

namespace hopyard {

constexpr Bytes kSector = 4 * KiB;  ///< O_DIRECT wants offsets, lengths and addresses in multiples of this
constexpr Bytes kStagingSlot = kDiskStagingBytes / 2;  ///< one for reading and one for writing: the largest request

/// A file opened for direct reading. Reads go through staging memory of the calling thread; any thread may read.
class DirectReader {
 public:
  /// `file`: a descriptor, which it owns.
  explicit DirectReader(int file) : file_(file) {}
  ~DirectReader();
  DirectReader(const DirectReader&) = delete;

  /// Requires that the range, widened to whole sectors, fits a slot. Returns how many bytes there are (fewer at the
  /// file's end) or −errno. `*data` is valid until the thread reads again.
  long read(Bytes offset, Bytes size, const char** data) const;

 private:
  const int file_;
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
