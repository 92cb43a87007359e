// What was kept first, and stays.
#pragma once

#include <mutex>
#include <utility>

namespace hopyard {

/// Empty, or null, until something is kept; what comes later changes nothing. Any thread.
template <class Value>
class FirstKept {
 public:
  /// What is kept: the first.
  Value keep(Value value) {
    const std::lock_guard lock(mutex_);
    if (value_ == Value()) value_ = std::move(value);
    return value_;
  }
  Value get() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  mutable std::mutex mutex_;  // guards value_
  Value value_;
};

}  // namespace hopyard
