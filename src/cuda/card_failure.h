// What went wrong with a card, once.
#pragma once

#include <exception>
#include <mutex>

namespace hopyard {

/// The first call of a card that failed. From then on nothing more is asked of it: what is there can no longer be
/// trusted. Any thread.
class CardFailure {
 public:
  /// Keeps the first.
  void note(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  /// Null while all is well.
  std::exception_ptr get() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }

 private:
  mutable std::mutex mutex_;  // guards error_
  std::exception_ptr error_;
};

}  // namespace hopyard
