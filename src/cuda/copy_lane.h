// One direction of a card's link: a stream of its own, and the thread that waits for what is on it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda/card_failure.h"
#include "cuda/cuda_handles.h"
#include "device/device.h"

namespace hopyard {

/// First in, first out. A transfer goes to the stream when it is submitted, between two events of a pool; when all of
/// them are out, it waits here until one comes back. So transfers follow each other on the card without a word from the
/// host. submit() never waits for the card's work, and may be called from within `done`.
///
/// `done` is called from the lane's thread after the event behind the transfer's last copy was waited for. When a call
/// fails, the failure is noted first; then `done` is still called, for this transfer and all that follow, in their
/// order, without their bytes having moved; what already is on the stream is waited for as far as the card answers.
class CopyLane {
 public:
  /// All must outlive it; `trace` may be null. `track` names its track there, `category` its slices.
  CopyLane(CudaCalls& calls, CardFailure& failure, CopyDirection direction, TraceRecorder* trace,
           const std::string& track, std::string category);
  ~CopyLane();  ///< finishes what is queued
  void submit(std::vector<CopyRequest> copies, std::string label, std::function<void()> done);
  StreamHandle stream() const { return stream_.get(); }
  Bytes moved() const;  ///< from or to the host
  /// By the card's own clock.
  double busy_s() const;

  static constexpr std::size_t kTransfersInFlightMax = 32;

 private:
  struct Events {
    OwnedEvent begin, end;
  };
  struct Transfer {
    std::vector<CopyRequest> copies;
    std::string label;
    std::function<void()> done;
    double queued_s = 0;
    Bytes bytes = 0, host_bytes = 0;  ///< all, and those of the host
    Events* events = nullptr;         ///< once it was issued
    bool whole = false;               ///< all its copies are on the stream
    bool recorded = false;            ///< the event behind what is on the stream is
  };
  void work();
  void issue_waiting();
  void issue(Transfer& transfer);
  double await(const Transfer& transfer);

  CudaCalls& calls_;
  CardFailure& failure_;
  const CopyDirection direction_;
  TraceRecorder* const trace_;
  const std::string category_;
  const std::uint32_t track_;
  const OwnedStream stream_;
  std::vector<Events> all_events_;
  double last_end_s_ = 0;     // lane thread only
  mutable std::mutex mutex_;  // guards all below but thread_
  std::condition_variable wake_;
  std::vector<Events*> spare_events_;
  std::deque<Transfer> queue_;
  std::size_t issued_ = 0;  ///< of the queue, from its front
  bool stopping_ = false;
  Bytes moved_ = 0;
  double busy_s_ = 0;
  std::thread thread_;
};

}  // namespace hopyard
