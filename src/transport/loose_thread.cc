#include "transport/loose_thread.h"

#include <chrono>
#include <thread>

#include "base/thread_name.h"

namespace hopyard {

LooseThread::LooseThread(std::string name, std::function<void()> body) : state_(std::make_shared<State>()) {
  std::thread([state = state_, name = std::move(name), body = std::move(body)]() mutable {
    name_thread(name);
    body();
    body = nullptr;  // what it owns goes before anybody hears that it is done
    const std::lock_guard lock(state->mutex);
    state->done = true;
    state->changed.notify_all();
  }).detach();
}

LooseThread& LooseThread::operator=(LooseThread&& other) {
  if (this == &other) return *this;
  finished_within(kGiveUpSeconds);
  state_ = std::move(other.state_);
  return *this;
}

bool LooseThread::finished_within(double seconds) const {
  if (!state_) return true;
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return state_->done; });
}

}  // namespace hopyard
