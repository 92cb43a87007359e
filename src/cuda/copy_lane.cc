#include "cuda/copy_lane.h"

#include <algorithm>

#include "base/clock.h"

namespace hopyard {

CopyLane::CopyLane(CudaCalls& calls, CardFailure& failure, CopyDirection direction, TraceRecorder* trace,
                   const std::string& track, std::string category)
    : calls_(calls),
      failure_(failure),
      direction_(direction),
      trace_(trace),
      category_(std::move(category)),
      track_(trace == nullptr ? 0 : trace->track(track)),
      stream_(calls) {
  all_events_.reserve(kTransfersInFlightMax);
  for (std::size_t i = 0; i < kTransfersInFlightMax; ++i) {
    all_events_.push_back({OwnedEvent(calls, true), OwnedEvent(calls, true)});
    spare_events_.push_back(&all_events_.back());
  }
  thread_ = std::thread([this] { work(); });
}

CopyLane::~CopyLane() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void CopyLane::submit(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) {
  Transfer transfer{std::move(copies), std::move(label), std::move(done), monotonic_seconds()};
  for (const auto& copy : transfer.copies) {
    transfer.bytes += copy.bytes;
    transfer.host_bytes += copy.from_device ? 0 : copy.bytes;
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(transfer));
    issue_waiting();
  }
  wake_.notify_one();
}

/// Under the lock, so that the order of the queue is that of the stream.
void CopyLane::issue_waiting() {
  for (; issued_ < queue_.size() && !spare_events_.empty(); ++issued_) {
    Transfer& next = queue_[issued_];
    next.events = spare_events_.back();
    spare_events_.pop_back();
    issue(next);
  }
}

void CopyLane::issue(Transfer& transfer) {
  if (failure_.get()) return;
  try {
    calls_.record(transfer.events->begin.get(), stream_.get());
    for (const auto& copy : transfer.copies)
      if (copy.bytes > 0)
        calls_.copy(copy.to, copy.from, copy.bytes, copy.from_device ? CopyDirection::from_card : direction_,
                    stream_.get());
    transfer.whole = true;
  } catch (...) {
    failure_.keep(std::current_exception());
  }
  try {
    calls_.record(transfer.events->end.get(), stream_.get());
    transfer.recorded = true;
  } catch (...) {
    failure_.keep(std::current_exception());
  }
}

void CopyLane::work() {
  while (true) {
    Transfer* front;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      front = &queue_.front();  // issued, since its events are the first to come back; it stays where it is
    }
    const double took_s = await(*front);
    const double end_s = monotonic_seconds();
    const double begin_s = std::min(end_s, std::max({end_s - took_s, front->queued_s, last_end_s_}));
    last_end_s_ = end_s;
    Transfer transfer;
    const bool failed = failure_.get() != nullptr;
    {
      const std::lock_guard lock(mutex_);
      transfer = std::move(queue_.front());
      queue_.pop_front();
      --issued_;
      spare_events_.push_back(transfer.events);
      issue_waiting();
      if (!failed) moved_ += transfer.host_bytes;
      busy_s_ += took_s;
    }
    if (trace_ != nullptr)
      trace_->add({track_, transfer.label + (failed ? " (failed)" : ""), category_, begin_s, end_s,
                   failed ? 0 : transfer.bytes});
    transfer.done();
  }
}

/// Seconds that the card took.
double CopyLane::await(const Transfer& transfer) {
  if (!transfer.recorded) return 0;
  try {
    calls_.synchronize(transfer.events->end.get());
    if (transfer.whole) return calls_.elapsed_s(transfer.events->begin.get(), transfer.events->end.get());
  } catch (...) {
    failure_.keep(std::current_exception());
  }
  return 0;
}

Bytes CopyLane::moved() const {
  const std::lock_guard lock(mutex_);
  return moved_;
}

double CopyLane::busy_s() const {
  const std::lock_guard lock(mutex_);
  return busy_s_;
}

}  // namespace hopyard
