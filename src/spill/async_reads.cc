#include "spill/async_reads.h"

#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/failure.h"

namespace hopyard {

namespace {

/// One for each thread, made at its first read: io_destroy waits for tens of milliseconds.
class Kernel {
 public:
  Kernel() { refused_ = ::syscall(SYS_io_setup, AsyncReads::kInFlight, &context_) != 0; }
  ~Kernel() {
    if (!refused_) ::syscall(SYS_io_destroy, context_);
  }
  Kernel(const Kernel&) = delete;
  bool submit(iocb& request) {
    iocb* const requests[] = {&request};  // copied by the kernel
    return !refused_ && ::syscall(SYS_io_submit, context_, 1, requests) == 1;
  }
  io_event await() {
    io_event event = {};
    long events = 0;
    do events = ::syscall(SYS_io_getevents, context_, 1, 1, &event, nullptr);
    while (events < 0 && errno == EINTR);
    require(events == 1, "the kernel ended ", events, " reads, not 1: ", std::strerror(errno));
    return event;
  }

 private:
  aio_context_t context_ = 0;
  bool refused_ = false;
};
thread_local Kernel kernel;

}  // namespace

AsyncReads::~AsyncReads() {
  for (; count_ > 0; --count_, oldest_ = (oldest_ + 1) % kInFlight)
    if (reads_[oldest_].submitted) await(reads_[oldest_]);
}

void AsyncReads::begin(Bytes offset, std::span<std::byte> into) {
  require(count_ < kInFlight, count_, " reads are under way");
  Read& read = reads_[(oldest_ + count_++) % kInFlight];
  read = {offset, into, false, std::nullopt};
  iocb request = {};
  request.aio_data = reinterpret_cast<std::uint64_t>(&read);
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_fildes = static_cast<std::uint32_t>(file_);
  request.aio_buf = reinterpret_cast<std::uint64_t>(into.data());
  request.aio_nbytes = into.size();
  request.aio_offset = static_cast<std::int64_t>(offset);
  read.submitted = kernel.submit(request);
}

long AsyncReads::finish() {
  require(count_ > 0, "no read is under way");
  Read& read = reads_[oldest_];
  oldest_ = (oldest_ + 1) % kInFlight;
  --count_;
  Bytes done = 0;
  if (read.submitted) {
    await(read);
    if (*read.result < 0) return *read.result;
    done = static_cast<Bytes>(*read.result);
  }
  while (done < read.into.size()) {  // refused, or cut short
    const ssize_t got =
        ::pread(file_, read.into.data() + done, read.into.size() - done, static_cast<off_t>(read.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) break;
    done += static_cast<Bytes>(got);
  }
  return static_cast<long>(done);
}

void AsyncReads::await(Read& read) {
  while (!read.result) {
    const io_event event = kernel.await();
    reinterpret_cast<Read*>(event.data)->result = static_cast<long>(event.res);
  }
}

}  // namespace hopyard
