// Where chunks lie between a worker's host memory and NCCL.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda/cuda_handles.h"
#include "cuda/nccl_transport.h"
#include "cuda/pinned_block.h"

namespace hopyard {

/// Places for so many chunks, each on the card and in host memory that is pinned where the system lets us, with two
/// streams. One thread asks, another may look whether something happened. A place is used anew only when done() says
/// so.
class NcclStaging {
 public:
  /// Throws CudaFailure, c10::OutOfMemoryError.
  explicit NcclStaging(std::shared_ptr<CudaCalls> calls);

  std::byte* host(std::size_t chunk) const { return memory_.data() + place(chunk); }
  std::byte* card(std::size_t chunk) const { return card_ + place(chunk); }
  StreamHandle nccl_stream() const { return nccl_.get(); }

  /// Copies the chunk to the card; what NCCL's stream is asked from now on comes after it.
  void to_card(std::size_t chunk, Bytes bytes);
  /// Copies it to the host after what NCCL's stream was asked: `beside` what it is asked from now on, or before.
  void to_host(std::size_t chunk, Bytes bytes, bool beside);
  /// The chunk is done with when NCCL's stream has come to here.
  void ends_here(std::size_t chunk);
  bool done(std::size_t chunk) const { return calls_->happened(chunks_[chunk % kChunksInFlight].done.get()); }

  /// Nothing is asked of it any more.
  void close() noexcept;
  /// After close(): nothing of it is on its way. False for good when the card is lost.
  bool idle() const noexcept;

 private:
  struct Chunk {
    OwnedEvent handed, done;
  };
  static Bytes place(std::size_t chunk) { return chunk % kChunksInFlight * kChunkBytes; }

  const std::shared_ptr<CudaCalls> calls_;
  const OwnedStream copies_, nccl_;
  const std::vector<Chunk> chunks_;
  const OwnedEvent copies_end_, nccl_end_;
  const PinnedBlock memory_;
  const at::Tensor tensor_;
  std::byte* const card_;
  bool closed_ = false;
};

/// Those of a worker: each is made when it is first wanted, and kept. Any thread.
class NcclStagings {
 public:
  explicit NcclStagings(std::shared_ptr<CudaCalls> calls) : calls_(std::move(calls)) {}
  ~NcclStagings();  ///< what a card never came to an end with is left to itself

  /// One that goes back with its last owner, who may outlive this. Null when all are taken. Throws as NcclStaging.
  static std::shared_ptr<NcclStaging> take(const std::shared_ptr<NcclStagings>& all);

  /// A link takes two, a group one.
  static constexpr std::size_t kMax = kNcclStagingBytes / (kChunksInFlight * kChunkBytes);

 private:
  void give_back(NcclStaging* staging) noexcept;

  const std::shared_ptr<CudaCalls> calls_;
  std::mutex mutex_;  // guards all below
  std::size_t made_ = 0;
  std::vector<std::unique_ptr<NcclStaging>> free_;  ///< closed; not all idle yet
};

}  // namespace hopyard
