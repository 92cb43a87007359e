// Why something is broken, once.
#pragma once

#include <mutex>
#include <string>

namespace hopyard {

/// Any thread.
class FirstReason {
 public:
  /// The reason that is kept: the first one.
  std::string keep(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (reason_.empty()) reason_ = reason;
    return reason_;
  }
  /// Empty while all is well.
  std::string get() const {
    const std::lock_guard lock(mutex_);
    return reason_;
  }

 private:
  mutable std::mutex mutex_;  // guards reason_
  std::string reason_;
};

}  // namespace hopyard
