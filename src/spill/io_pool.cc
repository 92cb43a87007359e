#include "spill/io_pool.h"

#include <utility>

#include "base/failure.h"
#include "base/thread_name.h"

namespace hopyard {

IoPool::IoPool(int threads) {
  require(threads > 0, "an IoPool needs a thread, not ", threads);
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

IoPool::~IoPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void IoPool::submit(std::function<void()> job, Priority priority) {
  {
    const std::lock_guard lock(mutex_);
    (priority == Priority::urgent ? urgent_ : normal_).push_back(std::move(job));
  }
  wake_.notify_one();
}

void IoPool::drain() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return urgent_.empty() && normal_.empty() && running_ == 0; });
}

void IoPool::work() {
  name_thread("disk");
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !urgent_.empty() || !normal_.empty(); });
    auto& queue = urgent_.empty() ? normal_ : urgent_;
    if (queue.empty()) return;  // stopping, and everything submitted is done
    auto job = std::move(queue.front());
    queue.pop_front();
    ++running_;
    lock.unlock();
    job();
    job = nullptr;  // what the job holds goes before drain() sees it finished
    lock.lock();
    if (--running_ == 0 && urgent_.empty() && normal_.empty()) idle_.notify_all();
  }
}

}  // namespace hopyard
