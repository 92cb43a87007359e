// Small values of the host on their way to a card's compute stream.
#pragma once

#include <cstddef>
#include <vector>

#include "cuda/cuda_handles.h"
#include "cuda/pinned_block.h"

namespace hopyard {

/// A few pieces of host memory, pinned where the system lets us, that are used in turn. Compute thread only.
class StagingRing {
 public:
  explicit StagingRing(CudaCalls& calls);
  ~StagingRing();  ///< waits for what is on its way
  StagingRing(const StagingRing&) = delete;
  /// Copies the bytes in the order of the compute stream. The source may change or go as soon as this returns; it waits
  /// only when all pieces are on their way. Throws CudaFailure.
  void send(void* to, const void* from, Bytes bytes);

  static constexpr std::size_t kPieces = 8;
  static constexpr Bytes kPieceBytes = 256 * KiB;

 private:
  CudaCalls& calls_;
  const std::vector<OwnedEvent> sent_;  ///< of each piece: what it held last is on the card
  const PinnedBlock memory_;
  std::size_t next_ = 0;
};

}  // namespace hopyard
