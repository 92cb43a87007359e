// Counts of bytes by rank, added to from several threads.
#pragma once

#include <mutex>

#include "transport/transport.h"

namespace hopyard {

class TrafficCounter {
 public:
  void add(std::uint32_t rank, Bytes Traffic::*what, Bytes bytes) {
    const std::lock_guard lock(mutex_);
    counts_[rank].*what += bytes;
  }
  TrafficByRank counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  mutable std::mutex mutex_;
  TrafficByRank counts_;  // guarded by mutex_
};

}  // namespace hopyard
