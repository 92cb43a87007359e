// Direct I/O that keeps the disk busy while the processor works: one request ahead of a reader, one behind a writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace hopyard {

constexpr Bytes kSector = 4 * KiB;        ///< O_DIRECT wants offsets, lengths and addresses in multiples of this
constexpr Bytes kStagingSlot = 4 * MiB;   ///< one request; a disk splits longer ones

/// While it lives, the thread will read `bytes` of one file right after the first large read: they are asked for ahead.
class ReadAhead {
 public:
  explicit ReadAhead(Bytes bytes);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
};

/// While it lives, a file that the thread creates will have about `bytes`, which are allocated at once: only writes
/// within a file's size run in the background.
class WriteSize {
 public:
  explicit WriteSize(Bytes bytes);
  ~WriteSize();
  WriteSize(const WriteSize&) = delete;
};

/// A file opened for direct reading. Reads go through staging memory of the calling thread; any thread may read.
class DirectReader {
 public:
  /// `file`: a descriptor, which it owns.
  explicit DirectReader(int file);
  ~DirectReader();
  DirectReader(const DirectReader&) = delete;

  /// At most what fits a slot from the sector in which `offset` lies. Returns how many bytes there are (fewer at the
  /// file's end) or −errno. `*data` is valid until the thread reads again.
  long read(Bytes offset, Bytes size, const char** data) const;

 private:
  const int file_;
  const std::uint64_t serial_;  // tells it from a closed file with the same address
};

/// A new file written through staging memory of the calling thread, which writes one file at a time.
class DirectWriter {
 public:
  explicit DirectWriter(int file);
  ~DirectWriter();
  DirectWriter(const DirectWriter&) = delete;

  /// Both return 0 or an errno.
  int append(const char* data, Bytes size);
  int close();
  Bytes size() const { return written_ + staged_; }

 private:
  int allocate();
  int start_write(Bytes size);
  int finish_write();

  int file_;
  Bytes written_ = 0, staged_ = 0;  // handed to the disk; in the present slot
  Bytes allocated_ = 0;
  Bytes pending_offset_ = 0, pending_size_ = 0;
  int slot_ = 0;
};

}  // namespace hopyard
