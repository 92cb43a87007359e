#include "spill/direct_io.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/failure.h"
#include "spill/huge_pages.h"

namespace hopyard {

namespace {

/// Memory of one thread.
class Staging {
 public:
  ~Staging() {
    if (data_ != nullptr) unmap_memory(data_, kStagingSlot);
  }
  char* data() {
    if (data_ == nullptr) data_ = map_memory(kStagingSlot);
    return reinterpret_cast<char*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
};

thread_local Staging reading, writing;

}  // namespace

DirectReader::~DirectReader() { ::close(file_); }

long DirectReader::read(Bytes offset, Bytes size, const char** data) const {
  const Bytes begin = offset / kSector * kSector, skip = offset - begin, length = align_up(skip + size, kSector);
  require(length <= kStagingSlot, "a direct read of ", length, " bytes, more than ", kStagingSlot);
  *data = reading.data() + skip;
  Bytes got = 0;
  while (got < length && got % kSector == 0) {  // a part of a sector is the file's end
    const ssize_t part = ::pread(file_, reading.data() + got, length - got, static_cast<off_t>(begin + got));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return -errno;
    if (part == 0) break;
    got += static_cast<Bytes>(part);
  }
  return static_cast<long>(std::min(size, got - std::min(got, skip)));
}

DirectWriter::~DirectWriter() {
  if (file_ >= 0) ::close(file_);
}

int DirectWriter::append(const char* data, Bytes size) {
  for (Bytes done = 0; done < size;) {
    const Bytes part = std::min(size - done, kStagingSlot - staged_);
    std::memcpy(writing.data() + staged_, data + done, part);
    staged_ += part;
    done += part;
    if (staged_ < kStagingSlot) continue;
    if (const int error = write_staged(kStagingSlot)) return error;
  }
  return 0;
}

// The last sector is written whole, and the file is cut to its size.
int DirectWriter::close() {
  if (file_ < 0) return 0;
  const Bytes bytes = size(), padded = align_up(staged_, kSector);
  std::memset(writing.data() + staged_, 0, padded - staged_);
  int error = write_staged(padded);
  if (error == 0 && ::ftruncate(file_, static_cast<off_t>(bytes)) != 0) error = errno;
  if (::close(std::exchange(file_, -1)) != 0 && error == 0) error = errno;
  return error;
}

int DirectWriter::write_staged(Bytes size) {
  for (Bytes done = 0; done < size;) {
    const ssize_t wrote = ::pwrite(file_, writing.data() + done, size - done, static_cast<off_t>(written_ + done));
    if (wrote < 0 && errno != EINTR) return errno;
    if (wrote > 0) done += static_cast<Bytes>(wrote);
  }
  written_ += size;
  staged_ = 0;
  return 0;
}

}  // namespace hopyard
