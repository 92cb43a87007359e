// The one place from which bytes are copied between host memory and a card, and between two cards.
#pragma once

#include "cuda/copy_lane.h"

namespace hopyard {

/// The load and the store lane of a card. As Device has it: any thread may call, also from within a `done`; each
/// direction is first in, first out; both move at the same time. Host memory that is not pinned works, more slowly.
class CopyDoor {
 public:
  /// `name` is the device's: its tracks are "<name>/load" and "<name>/store". All must outlive it.
  CopyDoor(CudaCalls& calls, CardFailure& failure, TraceRecorder* trace, const std::string& name);
  ~CopyDoor();  ///< finishes what is queued, and what is asked for by those who are told of it
  void load(std::vector<CopyRequest> copies, std::string label, std::function<void()> done);
  void store(std::vector<CopyRequest> copies, std::string label, std::function<void()> done);
  StreamHandle load_stream() const { return load_.stream(); }
  LinkCounters counters() const { return {load_.moved(), store_.moved(), load_.busy_s(), store_.busy_s()}; }

 private:
  std::function<void()> counted(std::function<void()> done);

  std::mutex mutex_;  // guards under_way_
  std::condition_variable changed_;
  std::size_t under_way_ = 0;  ///< asked for, and not told of yet
  CopyLane load_, store_;
};

}  // namespace hopyard
