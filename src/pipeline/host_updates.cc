#include "pipeline/host_updates.h"

#include "device/compute_threads.h"

namespace hopyard {

HostUpdates::HostUpdates(int threads) : threads_(threads), thread_([this] { work(); }) {
  const int callers = at::get_num_threads();
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return ready_; });
  compute_with_threads(callers);  // threads that have not computed yet take over what was set last
}

HostUpdates::~HostUpdates() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void HostUpdates::submit(std::function<void()> update) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(update));
  }
  wake_.notify_all();
}

void HostUpdates::work() {
  compute_with_threads(threads_);
  std::unique_lock lock(mutex_);
  ready_ = true;
  wake_.notify_all();
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto update = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    update();
    update = nullptr;  // may hold a trial's last slot
    lock.lock();
  }
}

}  // namespace hopyard
