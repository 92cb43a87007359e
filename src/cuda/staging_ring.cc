#include "cuda/staging_ring.h"

#include <algorithm>
#include <cstring>

namespace hopyard {

namespace {

std::vector<OwnedEvent> events(CudaCalls& calls, std::size_t count) {
  std::vector<OwnedEvent> made;
  for (std::size_t i = 0; i < count; ++i) made.emplace_back(calls, false);
  return made;
}

}  // namespace

StagingRing::StagingRing(CudaCalls& calls)
    : calls_(calls), sent_(events(calls, kPieces)), memory_(calls, kPieces * kPieceBytes) {}

StagingRing::~StagingRing() {
  for (const auto& sent : sent_) {
    try {
      calls_.synchronize(sent.get());
    } catch (const CudaFailure&) {
      // The card is gone, and copies nothing any more.
    }
  }
}

void StagingRing::send(void* to, const void* from, Bytes bytes) {
  for (Bytes at = 0; at < bytes;) {
    const Bytes part = std::min(kPieceBytes, bytes - at);
    std::byte* const piece = memory_.data() + next_ * kPieceBytes;
    const EventHandle sent = sent_[next_].get();
    calls_.synchronize(sent);
    std::memcpy(piece, static_cast<const std::byte*>(from) + at, part);
    calls_.copy(static_cast<std::byte*>(to) + at, piece, part, CopyDirection::to_card, calls_.compute_stream());
    calls_.record(sent, calls_.compute_stream());
    next_ = (next_ + 1) % kPieces;
    at += part;
  }
}

}  // namespace hopyard
