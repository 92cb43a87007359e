// Memory of large tensors that were let go, for others of about their size: the kernel zeroes what it maps.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>

#include "base/blocks_by_size.h"
#include "base/bytes.h"

namespace hopyard {

/// Any thread. Blocks are of map_memory(), in whole pages of 4 KiB.
class KeptBlocks {
 public:
  KeptBlocks() = default;
  ~KeptBlocks() { trim(0); }
  KeptBlocks(const KeptBlocks&) = delete;
  /// So many bytes of whole pages, contents undefined: of a kept block that is at most a quarter longer, whose end goes
  /// back to the kernel. Null when there is none.
  std::byte* take(Bytes bytes) noexcept;
  void keep(std::byte* data, Bytes bytes) noexcept;
  /// Gives the kernel back what is kept beyond `most`, the shortest first.
  void trim(Bytes most) noexcept;
  Bytes bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  std::mutex mutex_;  // guards blocks_
  BlocksBySize blocks_;
  std::atomic<Bytes> bytes_{0};  // changed under the mutex
};

}  // namespace hopyard
