// Owners of a card's streams and events.
#pragma once

#include <utility>

#include "cuda/cuda_calls.h"

namespace hopyard {

/// Destroyed with its owner, before the calls that made it.
class OwnedStream {
 public:
  explicit OwnedStream(CudaCalls& calls) : calls_(calls), stream_(calls.make_stream()) {}
  ~OwnedStream() { calls_.destroy_stream(stream_); }
  OwnedStream(const OwnedStream&) = delete;
  StreamHandle get() const { return stream_; }

 private:
  CudaCalls& calls_;
  const StreamHandle stream_;
};

class OwnedEvent {
 public:
  OwnedEvent(CudaCalls& calls, bool timing) : calls_(&calls), event_(calls.make_event(timing)) {}
  ~OwnedEvent() {
    if (event_ != nullptr) calls_->destroy_event(event_);
  }
  OwnedEvent(OwnedEvent&& other) noexcept : calls_(other.calls_), event_(std::exchange(other.event_, nullptr)) {}
  OwnedEvent(const OwnedEvent&) = delete;
  EventHandle get() const { return event_; }

 private:
  CudaCalls* calls_;
  EventHandle event_;
};

}  // namespace hopyard
