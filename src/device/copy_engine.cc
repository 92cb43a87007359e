#include "device/copy_engine.h"

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/thread_name.h"

namespace hopyard {

CopyEngine::CopyEngine(double bytes_per_s, double latency_s, TraceRecorder* trace, const std::string& track,
                       std::string category)
    : bytes_per_s_(bytes_per_s),
      latency_s_(latency_s),
      trace_(trace),
      track_(trace == nullptr ? 0 : trace->track(track)),
      category_(std::move(category)),
      thread_([this] { work(); }) {}

CopyEngine::~CopyEngine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void CopyEngine::submit(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(copies), std::move(label), std::move(done), monotonic_seconds()});
  }
  wake_.notify_one();
}

void CopyEngine::work() {
  name_thread("copies");
  while (true) {
    Transfer transfer;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      transfer = std::move(queue_.front());
      queue_.pop_front();
    }
    perform(transfer);
  }
}

void CopyEngine::perform(Transfer& transfer) {
  const double begin = std::max(transfer.queued_s, free_at_);
  Bytes bytes = 0;
  for (const auto& copy : transfer.copies) {
    std::memcpy(copy.to, copy.from, copy.bytes);
    bytes += copy.bytes;
  }
  const double end = std::max(begin + latency_s_ + static_cast<double>(bytes) / bytes_per_s_, monotonic_seconds());
  sleep_seconds(end - monotonic_seconds());
  free_at_ = end;
  {
    const std::lock_guard lock(mutex_);
    moved_ += bytes;
    busy_s_ += end - begin;
  }
  if (trace_ != nullptr) trace_->add({track_, transfer.label, category_, begin, end, bytes});
  transfer.done();
}

Bytes CopyEngine::moved() const {
  const std::lock_guard lock(mutex_);
  return moved_;
}

double CopyEngine::busy_s() const {
  const std::lock_guard lock(mutex_);
  return busy_s_;
}

}  // namespace hopyard
