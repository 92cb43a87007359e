// Calls of a card that make a missing wait show: memory holds NaN from when it is given out, and again as soon as it is
// let go, and streams dawdle.
#pragma once

#include <ATen/ops/from_blob.h>

#include <functional>
#include <mutex>

#include "base/rng.h"
#include "fakes/calls_around.h"

namespace hopyard::fakes {

/// How a card is unkind.
struct UnkindWays {
  /// NaN, as float32 and as bfloat16, in the stream's order. May outlive the card.
  std::function<void(void* data, Bytes bytes, StreamHandle stream)> poison;
  /// What is asked of the stream from now on waits a little.
  std::function<void(StreamHandle stream)> dawdle;
};

/// Around other calls, which must outlive it; tensors may outlive both.
class UnkindCalls final : public CallsAround {
 public:
  UnkindCalls(CudaCalls& inner, UnkindWays ways, std::uint64_t seed)
      : CallsAround(inner), ways_(std::move(ways)), drawn_(derive(seed, "unkind")) {}

  void copy(void* to, const void* from, Bytes bytes, CopyDirection direction, StreamHandle stream) override {
    if (is_drawn()) ways_.dawdle(stream);
    inner_.copy(to, from, bytes, direction, stream);
    if (is_drawn()) ways_.dawdle(stream);
  }
  at::Tensor allocate(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type) override {
    const at::Tensor made = inner_.allocate(pool, sizes, type);
    ways_.poison(made.data_ptr(), made.nbytes(), pool);
    const EventHandle poisoned = inner_.make_event(/*timing=*/false);  // whoever asked may write on any stream
    inner_.record(poisoned, pool);
    inner_.synchronize(poisoned);
    inner_.destroy_event(poisoned);
    const auto let_go = [poison = ways_.poison, made, pool](void* data) { poison(data, made.nbytes(), pool); };
    return at::from_blob(made.data_ptr(), sizes, let_go, made.options());
  }

 private:
  bool is_drawn() {
    const std::lock_guard lock(mutex_);
    return drawn_.below(4) == 0;
  }

  const UnkindWays ways_;
  std::mutex mutex_;  // guards drawn_
  KeyedStream drawn_;
};

}  // namespace hopyard::fakes
