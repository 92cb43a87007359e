// Blobs that a thread of its own has in host memory.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "spill/blob_cache.h"

namespace hopyard {

/// For as long as it lives. Blocks until they are there.
class Pinned {
 public:
  Pinned(BlobCache& cache, std::vector<std::uint32_t> blobs, bool changes)
      : cache_(cache), blobs_(std::move(blobs)), changes_(changes) {
    cache_.acquire_blocking(blobs_);
  }
  ~Pinned() { cache_.release(blobs_, changes_); }
  Pinned(const Pinned&) = delete;

 private:
  BlobCache& cache_;
  const std::vector<std::uint32_t> blobs_;
  const bool changes_;
};

}  // namespace hopyard
