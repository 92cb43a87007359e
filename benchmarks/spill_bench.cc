#include "spill_bench.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/failure.h"
#include "base/files.h"
#include "base/rng.h"
#include "spill/disk_tier.h"
#include "spill/host_tier.h"
#include "spill/io_pool.h"

namespace hopyard {

namespace {

constexpr Bytes kRawChunk = 4 * MiB;

/// A file opened for raw direct I/O. Every error ends the benchmark.
class RawFile {
 public:
  RawFile(const std::string& path, int flags) : path_(path), file_(::open(path.c_str(), flags | O_DIRECT, 0666)) {
    check(file_ >= 0);
  }
  ~RawFile() { ::close(file_); }
  RawFile(const RawFile&) = delete;
  void write(std::span<const std::byte> bytes) {
    for (Bytes offset = 0; offset < bytes.size(); offset += kRawChunk)
      check(::pwrite(file_, bytes.data() + offset, kRawChunk, static_cast<off_t>(offset)) == kRawChunk);
    check(::fsync(file_) == 0);
  }
  void read(std::span<std::byte> bytes) {
    for (Bytes offset = 0; offset < bytes.size(); offset += kRawChunk)
      check(::pread(file_, bytes.data() + offset, kRawChunk, static_cast<off_t>(offset)) == kRawChunk);
  }

 private:
  void check(bool fine) const {
    if (!fine) fail(ExitCode::input, path_, ": the benchmark cannot use it: ", std::strerror(errno));
  }
  const std::string path_;
  const int file_;
};

/// Runs `work(0)` … `work(jobs − 1)` side by side and returns the seconds until all are done. Rethrows.
double seconds_of(IoPool& pool, int jobs, const std::function<void(int)>& work) {
  std::vector<std::future<void>> done;
  const double begin = monotonic_seconds();
  for (int i = 0; i < jobs; ++i) {
    auto task = std::make_shared<std::packaged_task<void()>>([&work, i] { work(i); });
    done.push_back(task->get_future());
    pool.submit([task] { (*task)(); });
  }
  for (auto& one : done) one.wait();
  const double seconds = monotonic_seconds() - begin;
  for (auto& one : done) one.get();
  return seconds;
}

HostBuffer random_buffer(HostTier& host, Bytes bytes, std::uint64_t key) {
  HostBuffer buffer(*host.reserve(bytes), bytes);
  KeyedStream stream(key);
  for (Bytes i = 0; i < bytes; i += 8) {
    const std::uint64_t word = stream.next();
    std::memcpy(buffer.data() + i, &word, 8);
  }
  return buffer;
}

}  // namespace

SpillBandwidth measure_spill_bandwidth(const std::string& folder, Bytes file_bytes, int files, int in_flight) {
  require(file_bytes % kRawChunk == 0, "file_bytes is ", file_bytes, ", not a multiple of ", kRawChunk);
  ::mallopt(M_MMAP_THRESHOLD, 64 << 20);  // as in main(): or each block that RocksDB reads costs page faults
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
  const std::string raw_folder = folder + "/raw", rocks_folder = folder + "/rocks";
  std::filesystem::create_directories(raw_folder);
  SpillBandwidth seconds;
  {
    HostTier host(file_bytes * static_cast<Bytes>(in_flight));
    std::vector<HostBuffer> buffers;
    for (int i = 0; i < in_flight; ++i)
      buffers.push_back(random_buffer(host, file_bytes, static_cast<std::uint64_t>(i)));
    const auto disk = open_rocks_disk_tier({rocks_folder, file_bytes * static_cast<Bytes>(files + in_flight)});
    IoPool pool(in_flight);
    std::vector<Version> versions(static_cast<std::size_t>(files));
    const auto raw_path = [&](int file) { return text::cat(raw_folder, "/", file); };
    for (int begin = 0; begin < files; begin += in_flight) {
      const int jobs = std::min(in_flight, files - begin);
      seconds.rocks_write_s += seconds_of(pool, jobs, [&](int i) {
        const BlobToWrite blob{0, buffers[static_cast<std::size_t>(i)].span()};
        versions[static_cast<std::size_t>(begin + i)] = disk->write({&blob, 1}, Durability::durable);
      });
      seconds.raw_write_s += seconds_of(pool, jobs, [&](int i) {
        RawFile(raw_path(begin + i), O_WRONLY | O_CREAT | O_EXCL).write(buffers[static_cast<std::size_t>(i)].span());
        sync_folder(raw_folder);
      });
    }
    for (int begin = 0; begin < files; begin += in_flight) {
      const int jobs = std::min(in_flight, files - begin);
      seconds.rocks_read_s += seconds_of(pool, jobs, [&](int i) {
        disk->read(versions[static_cast<std::size_t>(begin + i)], 0, 0, buffers[static_cast<std::size_t>(i)].span());
      });
      seconds.raw_read_s += seconds_of(pool, jobs, [&](int i) {
        RawFile(raw_path(begin + i), O_RDONLY).read(buffers[static_cast<std::size_t>(i)].span());
      });
    }
  }
  std::filesystem::remove_all(raw_folder);
  std::filesystem::remove_all(rocks_folder);
  return seconds;
}

}  // namespace hopyard
