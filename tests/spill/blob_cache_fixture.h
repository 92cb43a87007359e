// A BlobCache over a disk tier, and what its blobs should hold.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/failure.h"
#include "spill/blob_cache.h"

namespace hopyard {

/// Where wake() arrives.
class Bell {
 public:
  void ring() {
    const std::lock_guard lock(mutex_);
    ++rings_;
    rung_.notify_all();
  }
  std::uint64_t rings() {
    const std::lock_guard lock(mutex_);
    return rings_;
  }
  /// False when there was no ring after the first `seen` for so long that there will be none.
  bool wait(std::uint64_t seen) {
    std::unique_lock lock(mutex_);
    return rung_.wait_for(lock, std::chrono::seconds(20), [&] { return rings_ > seen; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable rung_;
  std::uint64_t rings_ = 0;
};

inline void fill(std::span<std::byte> bytes, std::uint64_t stamp) {
  if (bytes.empty()) return;
  std::memset(bytes.data(), static_cast<int>(stamp % 251), bytes.size());
  std::memcpy(bytes.data(), &stamp, std::min<std::size_t>(sizeof stamp, bytes.size()));
}

inline bool holds(std::span<const std::byte> bytes, std::uint64_t stamp) {
  std::vector<std::byte> expected(bytes.size());
  fill(expected, stamp);
  return std::equal(bytes.begin(), bytes.end(), expected.begin());
}

/// As an executor does: tries, and tries again when it is woken. Throws when it is not.
inline void acquire(BlobCache& cache, Bell& bell, std::span<const std::uint32_t> blobs) {
  while (true) {
    const auto seen = bell.rings();
    if (cache.acquire(blobs)) return;
    require(bell.wait(seen), "nobody woke the one who waits");
  }
}

}  // namespace hopyard
