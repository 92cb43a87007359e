// Memory of large tensors, kept for others of about their size instead of given back: the kernel zeroes what it maps.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// A block of at least the bytes that were asked for.
struct LargeBlock {
  std::byte* data = nullptr;
  Bytes bytes = 0;
};

/// Any thread. What is in use and what is kept, together, are never more than the most that was in use at a time.
class LargeBlocks {
 public:
  ~LargeBlocks();
  /// Contents undefined. At most a quarter longer than `bytes`. std::bad_alloc when there is none.
  LargeBlock take(Bytes bytes);
  void give_back(const LargeBlock& block);
  Bytes kept() const;

 private:
  void unmap_kept(std::map<Bytes, std::vector<std::byte*>>::iterator kept);

  mutable std::mutex mutex_;  // guards all below
  Bytes used_ = 0, most_used_ = 0, kept_ = 0;
  std::map<Bytes, std::vector<std::byte*>> kept_blocks_;  // by size
};

}  // namespace hopyard
