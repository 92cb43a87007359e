#include "spill/direct_io.h"

#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/failure.h"
#include "spill/huge_pages.h"

namespace hopyard {

namespace {

constexpr int kReadSlots = 2;
constexpr Bytes kPieceMin = kReadSlot - 3 * kSector;  // a read from this size on is a piece of something longer

/// Memory of one thread, mapped when it is first asked for.
template <Bytes bytes>
class Staging {
 public:
  Staging() = default;
  ~Staging() {
    if (data_ != nullptr) unmap_memory(data_, bytes);
  }
  Staging(const Staging&) = delete;
  char* data() {
    if (data_ == nullptr) data_ = map_memory(bytes);
    return reinterpret_cast<char*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
};

/// Memory into which one thread reads. The bytes in the current slot are in use until the next read; meanwhile the
/// other slot may be reading ahead, by the kernel's asynchronous I/O. Where that is refused, nothing is ever read
/// ahead.
class ReadSlots {
 public:
  ReadSlots() = default;
  ~ReadSlots();
  ReadSlots(const ReadSlots&) = delete;

  char* current() { return data(current_); }
  /// Waits for what was read ahead from here, makes its slot current and returns how many bytes there are. Returns 0
  /// when nothing was, or when it failed: then it is to be read in the ordinary way.
  Bytes take(std::uint64_t reader, Bytes begin);
  /// Reads into the other slot; what it was reading ends first.
  void read_ahead(int file, std::uint64_t reader, Bytes begin, Bytes length);

 private:
  struct Ahead {
    std::uint64_t reader = 0;  // 0: nothing
    Bytes begin = 0;
  };
  char* data(int slot) { return memory_.data() + static_cast<Bytes>(slot) * kReadSlot; }
  bool ready();
  long finish();

  Staging<kReadSlots * kReadSlot> memory_;
  int current_ = 0;
  Ahead ahead_;  // set while a request runs, or has ended and waits to be fetched from the kernel
  aio_context_t kernel_ = 0;
  bool refused_ = false;
};

ReadSlots::~ReadSlots() {
  finish();
  if (kernel_ != 0) ::syscall(SYS_io_destroy, kernel_);
}

Bytes ReadSlots::take(std::uint64_t reader, Bytes begin) {
  if (ahead_.reader != reader || ahead_.begin != begin) return 0;
  current_ = 1 - current_;
  return static_cast<Bytes>(std::max(0L, finish()));
}

void ReadSlots::read_ahead(int file, std::uint64_t reader, Bytes begin, Bytes length) {
  finish();
  if (!ready()) return;
  iocb request = {};
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_fildes = static_cast<std::uint32_t>(file);
  request.aio_buf = reinterpret_cast<std::uint64_t>(data(1 - current_));
  request.aio_nbytes = length;
  request.aio_offset = static_cast<std::int64_t>(begin);
  iocb* const requests[] = {&request};  // copied by the kernel
  if (::syscall(SYS_io_submit, kernel_, 1, requests) == 1) ahead_ = {reader, begin};
}

bool ReadSlots::ready() {
  if (kernel_ == 0 && !refused_) refused_ = ::syscall(SYS_io_setup, 1, &kernel_) != 0;
  return !refused_;
}

// Returns the bytes read or −errno; 0 when nothing was read ahead.
long ReadSlots::finish() {
  if (ahead_.reader == 0) return 0;
  io_event event = {};
  long events = 0;
  do events = ::syscall(SYS_io_getevents, kernel_, 1, 1, &event, nullptr);
  while (events < 0 && errno == EINTR);
  require(events == 1, "the kernel ended ", events, " reads, not 1: ", std::strerror(errno));
  ahead_ = {};
  return static_cast<long>(event.res);
}

thread_local ReadSlots reading;
thread_local Staging<kWriteSlot> writing;

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last = 0;
  return ++last;
}

}  // namespace

DirectReader::DirectReader(int file) : file_(file), id_(next_id()) {}

DirectReader::~DirectReader() { ::close(file_); }  // the kernel holds the file until what is read ahead has arrived

long DirectReader::read(Bytes offset, Bytes size, const char** data) const {
  const Bytes begin = offset / kSector * kSector, skip = offset - begin, length = align_up(skip + size, kSector);
  require(length <= kReadSlot, "a direct read of ", length, " bytes, more than ", kReadSlot);
  Bytes got = reading.take(id_, begin);
  char* const slot = reading.current();
  while (got < length && got % kSector == 0) {  // a part of a sector is the file's end
    const ssize_t part = ::pread(file_, slot + got, length - got, static_cast<off_t>(begin + got));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return -errno;
    if (part == 0) break;
    got += static_cast<Bytes>(part);
  }
  if (got >= length && length >= kPieceMin) {
    const Bytes next = (offset + size) / kSector * kSector, next_skip = offset + size - next;
    reading.read_ahead(file_, id_, next, std::min(kReadSlot, align_up(next_skip + size, kSector)));
  }
  *data = slot + skip;
  return static_cast<long>(std::min(size, got - std::min(got, skip)));
}

DirectWriter::~DirectWriter() {
  if (file_ >= 0) ::close(file_);
}

int DirectWriter::append(const char* data, Bytes size) {
  for (Bytes done = 0; done < size;) {
    const Bytes part = std::min(size - done, kWriteSlot - staged_);
    std::memcpy(writing.data() + staged_, data + done, part);
    staged_ += part;
    done += part;
    if (staged_ < kWriteSlot) continue;
    if (const int error = write_staged(kWriteSlot)) return error;
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
