// A thread that may hang in somebody else's code: its owner waits for it so long and no longer.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace hopyard {

/// So long a destructor waits for a thread that has been told to end.
constexpr double kGiveUpSeconds = 1.0;

/// Runs `body` on a thread of its own. The body owns (by value or shared_ptr) all that it touches, since it may outlive
/// this object, and throws nothing. Move-only.
class LooseThread {
 public:
  LooseThread() = default;
  /// `name`: see name_thread().
  LooseThread(std::string name, std::function<void()> body);
  LooseThread(LooseThread&&) = default;
  LooseThread& operator=(LooseThread&& other);
  /// Waits for at most kGiveUpSeconds, then leaves the thread to itself.
  ~LooseThread() { finished_within(kGiveUpSeconds); }
  bool finished_within(double seconds) const;
  /// Leaves the thread to itself now.
  void give_up() { state_.reset(); }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;  // guarded by mutex
  };
  std::shared_ptr<State> state_;
};

/// What `work` returns, when it does so within `seconds`; nothing otherwise, and its result is dropped when it comes.
/// `work` owns all that it touches and throws nothing.
template <class Work>
auto bounded(double seconds, Work work) -> std::optional<decltype(work())> {
  auto slot = std::make_shared<std::optional<decltype(work())>>();
  LooseThread thread("bounded", [slot, work = std::move(work)]() mutable { slot->emplace(work()); });
  if (thread.finished_within(seconds)) return std::move(*slot);
  thread.give_up();
  return std::nullopt;
}

}  // namespace hopyard
