// A thread that updates shards in host memory while devices compute others.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace hopyard {

/// First in, first out, with so many compute threads. What is queued is bounded by the slots of the devices.
class HostUpdates {
 public:
  /// Returns when its thread is there. Make it before threads that compute with other numbers of threads.
  explicit HostUpdates(int threads);
  ~HostUpdates();  ///< finishes what is queued
  void submit(std::function<void()> update);

 private:
  void work();

  const int threads_;
  std::mutex mutex_;  // guards all below but thread_
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false, ready_ = false;
  std::thread thread_;
};

}  // namespace hopyard
