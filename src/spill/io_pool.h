// Threads that do work in the background, disk work above all, so that neither devices nor decisions wait for it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hopyard {

/// Runs jobs on `threads` threads, urgent ones first, else first in, first out. Jobs must not throw. The destructor
/// finishes what was submitted.
class IoPool {
 public:
  explicit IoPool(int threads);
  ~IoPool();
  enum class Priority { normal, urgent };
  void submit(std::function<void()> job, Priority priority = Priority::normal);
  /// Blocks until nothing is queued or running.
  void drain();

 private:
  void work();
  std::mutex mutex_;  // guards all below but threads_
  std::condition_variable wake_, idle_;
  std::deque<std::function<void()>> urgent_, normal_;
  int running_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hopyard
