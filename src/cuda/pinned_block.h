// A block of host memory for copies, pinned where the system lets us.
#pragma once

#include <cstddef>

#include "cuda/cuda_calls.h"

namespace hopyard {

/// Of whole pages, near the card, written once so that they are there. Unpinned and freed with its owner, before the
/// calls; nothing may be on its way from or to it then.
class PinnedBlock {
 public:
  PinnedBlock(CudaCalls& calls, Bytes bytes);
  ~PinnedBlock();
  PinnedBlock(const PinnedBlock&) = delete;
  std::byte* data() const { return data_; }
  bool pinned() const { return pinned_; }  ///< else copies of it are slower

 private:
  CudaCalls& calls_;
  const Bytes bytes_;
  std::byte* const data_;
  const bool pinned_;
};

}  // namespace hopyard
