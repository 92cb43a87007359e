// A thread that updates shards in host memory while devices compute others.
#pragma once

#include <functional>

#include "spill/io_pool.h"

namespace hopyard {

/// First in, first out, with so many compute threads. What is queued is bounded by the slots of the devices and one
/// more; the destructor finishes it. Updates must not throw.
class HostUpdates {
 public:
  /// Returns when its thread is there. Make it before threads that compute with other numbers of threads.
  explicit HostUpdates(int threads);
  void submit(std::function<void()> update) { thread_.submit(std::move(update)); }

 private:
  IoPool thread_{1};
};

}  // namespace hopyard
