// The one place from which bytes are copied between host memory and a card.
#pragma once

#include "cuda/copy_lane.h"

namespace hopyard {

/// The load and the store lane of a card. As Device has it: any thread may call; each direction is first in, first out;
/// both move at the same time. Host memory that is not pinned works, more slowly.
class CopyDoor {
 public:
  /// `name` is the device's: its tracks are "<name>/load" and "<name>/store". All must outlive it.
  CopyDoor(CudaCalls& calls, CardFailure& failure, TraceRecorder* trace, const std::string& name)
      : load_(calls, failure, CopyDirection::to_card, trace, name + "/load", "load"),
        store_(calls, failure, CopyDirection::to_host, trace, name + "/store", "store") {}
  void load(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) {
    load_.submit(std::move(copies), std::move(label), std::move(done));
  }
  void store(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) {
    store_.submit(std::move(copies), std::move(label), std::move(done));
  }
  StreamHandle load_stream() const { return load_.stream(); }
  LinkCounters counters() const { return {load_.moved(), store_.moved(), load_.busy_s(), store_.busy_s()}; }

 private:
  CopyLane load_, store_;
};

}  // namespace hopyard
