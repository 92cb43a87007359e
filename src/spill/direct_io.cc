#include "spill/direct_io.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "spill/disk_tier.h"
#include "spill/huge_pages.h"

namespace hopyard {

namespace {

static_assert(kDiskStagingBytes == 4 * kStagingSlot, "two slots for reading, two for writing");

/// At most one request in flight, by the kernel's own asynchronous I/O; at once where it has none for us.
class Request {
 public:
  ~Request() {
    if (context_ != 0) ::syscall(SYS_io_destroy, context_);
  }
  void start(int opcode, int file, char* data, Bytes size, Bytes offset) {
    if (!tried_) ::syscall(SYS_io_setup, 1, &context_);  // 0 stays 0 where it is forbidden or used up
    tried_ = true;
    control_ = {};
    control_.aio_lio_opcode = static_cast<std::uint16_t>(opcode);
    control_.aio_fildes = static_cast<std::uint32_t>(file);
    control_.aio_buf = reinterpret_cast<std::uintptr_t>(data);
    control_.aio_nbytes = size;
    control_.aio_offset = static_cast<std::int64_t>(offset);
    iocb* one = &control_;
    in_flight_ = context_ != 0 && ::syscall(SYS_io_submit, context_, 1, &one) == 1;
    if (!in_flight_) result_ = run(opcode, file, data, size, offset);
  }
  /// Bytes moved, or −errno.
  long wait() {
    while (in_flight_) {
      io_event event{};
      const long got = ::syscall(SYS_io_getevents, context_, 1, 1, &event, nullptr);
      if (got < 0 && errno != EINTR) return -errno;
      if (got != 1) continue;
      in_flight_ = false;
      result_ = static_cast<long>(event.res);
    }
    return result_;
  }

 private:
  static long run(int opcode, int file, char* data, Bytes size, Bytes offset) {
    const auto at = static_cast<off_t>(offset);
    const ssize_t moved = opcode == IOCB_CMD_PREAD ? ::pread(file, data, size, at) : ::pwrite(file, data, size, at);
    return moved < 0 ? -errno : moved;
  }

  aio_context_t context_ = 0;
  bool tried_ = false, in_flight_ = false;
  iocb control_{};
  long result_ = 0;
};

/// Two slots of one thread.
class Staging {
 public:
  ~Staging() {
    request.wait();
    if (data_ != nullptr) unmap_memory(data_, 2 * kStagingSlot);
  }
  char* slot(int index) {
    if (data_ == nullptr) data_ = map_memory(2 * kStagingSlot);
    return reinterpret_cast<char*>(data_) + static_cast<Bytes>(index) * kStagingSlot;
  }

 private:
  std::byte* data_ = nullptr;

 public:
  Request request;
};

struct Reading : Staging {
  Bytes ahead = 0;           // bytes still to be asked for ahead
  std::uint64_t serial = 0;  // of the file with a request in flight; 0: none
  Bytes begin = 0;           // and where it reads
  int slot_ahead = 0;
};

thread_local Reading reading;
thread_local Staging writing;
thread_local Bytes write_size = 0;

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> serials{0};
  return ++serials;
}

}  // namespace

ReadAhead::ReadAhead(Bytes bytes) { reading.ahead = bytes; }
ReadAhead::~ReadAhead() {
  reading.ahead = 0;
  if (std::exchange(reading.serial, 0) != 0) reading.request.wait();
}

WriteSize::WriteSize(Bytes bytes) { write_size = bytes; }
WriteSize::~WriteSize() { write_size = 0; }

DirectReader::DirectReader(int file) : file_(file), serial_(next_serial()) {}
DirectReader::~DirectReader() { ::close(file_); }

long DirectReader::read(Bytes offset, Bytes size, const char** data) const {
  const Bytes begin = offset / kSector * kSector, skip = offset - begin;
  const Bytes length = std::min(align_up(skip + size, kSector), kStagingSlot);
  const bool was_ahead = reading.serial == serial_ && reading.begin == begin;
  long got = std::exchange(reading.serial, 0) != 0 ? reading.request.wait() : 0;
  if (!was_ahead || got < static_cast<long>(std::min(skip + size, length))) {
    reading.request.start(IOCB_CMD_PREAD, file_, reading.slot(reading.slot_ahead), length, begin);
    got = reading.request.wait();
  }
  if (got < 0) return got;
  *data = reading.slot(reading.slot_ahead) + skip;
  const auto there = static_cast<long>(std::min<Bytes>(size, std::max<long>(got - static_cast<long>(skip), 0)));
  if (reading.ahead > 0 && there == static_cast<long>(size)) {
    constexpr Bytes kBetween = 256;  // keys and checksums between two values
    const Bytes next = (offset + size) / kSector * kSector;
    const Bytes next_length = std::min(align_up(offset + size - next + reading.ahead + kBetween, kSector), kStagingSlot);
    reading.ahead -= std::min(reading.ahead, size);
    reading.slot_ahead = 1 - reading.slot_ahead;
    reading.serial = serial_;
    reading.begin = next;
    reading.request.start(IOCB_CMD_PREAD, file_, reading.slot(reading.slot_ahead), next_length, next);
  }
  return there;
}

DirectWriter::DirectWriter(int file) : file_(file) {}

DirectWriter::~DirectWriter() {
  finish_write();
  if (file_ >= 0) ::close(file_);
}

int DirectWriter::append(const char* data, Bytes size) {
  for (Bytes done = 0; done < size;) {
    const Bytes part = std::min(size - done, kStagingSlot - staged_);
    std::memcpy(writing.slot(slot_) + staged_, data + done, part);
    staged_ += part;
    done += part;
    if (staged_ < kStagingSlot) continue;
    if (const int error = start_write(kStagingSlot)) return error;
  }
  return 0;
}

int DirectWriter::close() {
  if (file_ < 0) return 0;
  const Bytes bytes = size(), padded = align_up(staged_, kSector);
  std::memset(writing.slot(slot_) + staged_, 0, padded - staged_);
  int error = start_write(padded);
  if (const int last = finish_write(); error == 0) error = last;
  if (error == 0 && ::ftruncate(file_, static_cast<off_t>(bytes)) != 0) error = errno;
  if (::close(std::exchange(file_, -1)) != 0 && error == 0) error = errno;
  return error;
}

int DirectWriter::allocate() {
  if (allocated_ > 0 || write_size <= kStagingSlot) return 0;
  if (::fallocate(file_, 0, 0, static_cast<off_t>(write_size)) == 0) allocated_ = write_size;
  return errno == ENOSPC && allocated_ == 0 ? ENOSPC : 0;  // else a file system that cannot; writes extend the file
}

int DirectWriter::start_write(Bytes size) {
  if (const int error = finish_write()) return error;
  errno = 0;
  if (const int error = allocate()) return error;
  writing.request.start(IOCB_CMD_PWRITE, file_, writing.slot(slot_), size, written_);
  pending_offset_ = written_;
  pending_size_ = size;
  written_ += size;
  staged_ = 0;
  slot_ = 1 - slot_;
  return 0;
}

int DirectWriter::finish_write() {
  if (pending_size_ == 0) return 0;
  const Bytes size = std::exchange(pending_size_, 0);
  long done = writing.request.wait();
  while (done >= 0 && static_cast<Bytes>(done) < size) {  // a part was written: the rest may say why
    const ssize_t more = ::pwrite(file_, writing.slot(1 - slot_) + done, size - static_cast<Bytes>(done),
                                  static_cast<off_t>(pending_offset_) + done);
    if (more < 0 && errno != EINTR) return errno;
    if (more > 0) done += more;
  }
  return done < 0 ? static_cast<int>(-done) : 0;
}

}  // namespace hopyard
