// One direction of an emulated link: a thread that copies what is queued at the link's pace.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "device/device.h"

namespace hopyard {

/// First in, first out. A transfer of b bytes takes latency + b / rate, counted from the end of the one before when
/// it was already waiting, so that the link's pace does not depend on how exactly the thread sleeps.
class CopyEngine {
 public:
  /// `trace` may be null. `track` names this engine's track in it.
  CopyEngine(double bytes_per_s, double latency_s, TraceRecorder* trace, const std::string& track,
             std::string category);
  ~CopyEngine();  ///< finishes what is queued
  void submit(std::vector<CopyRequest> copies, std::string label, std::function<void()> done);
  Bytes moved() const;
  double busy_s() const;

 private:
  struct Transfer {
    std::vector<CopyRequest> copies;
    std::string label;
    std::function<void()> done;
    double queued_s;
  };
  void work();
  void perform(Transfer& transfer);

  const double bytes_per_s_, latency_s_;
  TraceRecorder* const trace_;
  const std::uint32_t track_;
  const std::string category_;
  double free_at_ = 0;        // engine thread only
  mutable std::mutex mutex_;  // guards all below but thread_
  std::condition_variable wake_;
  std::deque<Transfer> queue_;
  bool stopping_ = false;
  Bytes moved_ = 0;
  double busy_s_ = 0;
  std::thread thread_;
};

}  // namespace hopyard
