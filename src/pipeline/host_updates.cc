#include "pipeline/host_updates.h"

#include <ATen/Parallel.h>

namespace hopyard {

HostUpdates::HostUpdates(int threads) : threads_(threads), thread_([this] { work(); }) {}

HostUpdates::~HostUpdates() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void HostUpdates::submit(std::function<void()> update) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(update));
  }
  wake_.notify_one();
}

void HostUpdates::work() {
  at::set_num_threads(threads_);
  std::unique_lock lock(mutex_);
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
