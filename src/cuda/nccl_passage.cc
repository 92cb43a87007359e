#include "cuda/nccl_passage.h"

#include <chrono>
#include <stdexcept>

#include "base/clock.h"
#include "base/text.h"

namespace hopyard {

namespace {

constexpr std::chrono::duration<double> kPoll(100e-6);

}  // namespace

NcclPassage::Asker::Next NcclPassage::Asker::next(double seconds) {
  std::unique_lock lock(mutex_);
  const auto there = [&] { return handed_ > asked_ || all_ || given_up_; };
  if (!changed_.wait_for(lock, std::chrono::duration<double>(seconds), there)) return Next::nothing;
  if (given_up_) return Next::given_up;
  return handed_ > asked_ ? Next::chunk : Next::all;
}

void NcclPassage::Asker::asked() {
  const std::lock_guard lock(mutex_);
  ++asked_;
  changed_.notify_all();
}

NcclPassage::NcclPassage(NcclLane& lane, double stall_s, std::function<std::string()> failed,
                         std::function<void(Asker& asker)> work)
    : lane_(lane),
      stall_s_(stall_s),
      failed_(std::move(failed)),
      thread_("nccl chunks", [asker = asker_, work = std::move(work)] {
        std::string error;
        try {
          work(*asker);
        } catch (const std::exception& problem) {
          error = problem.what();
        }
        const std::lock_guard lock(asker->mutex_);
        asker->error_ = error;
        asker->ended_ = true;
        asker->changed_.notify_all();
      }) {}

NcclPassage::~NcclPassage() {
  const std::lock_guard lock(asker_->mutex_);
  asker_->given_up_ = true;
  asker_->changed_.notify_all();
}

void NcclPassage::hand_over() {
  const std::lock_guard lock(asker_->mutex_);
  ++asker_->handed_;
  asker_->changed_.notify_all();
}

template <class Condition>
void NcclPassage::wait(const Condition& holds) {
  const double until_s = monotonic_seconds() + stall_s_;
  for (std::unique_lock lock(asker_->mutex_);; asker_->changed_.wait_for(lock, kPoll)) {
    if (!asker_->error_.empty()) throw std::runtime_error(asker_->error_);
    if (holds()) return;
    lock.unlock();
    if (const std::string why = failed_(); !why.empty()) throw std::runtime_error(why);
    lane_.communicator->check();
    lock.lock();
    if (monotonic_seconds() > until_s) throw std::runtime_error(text::cat("nothing moved for ", stall_s_, " s"));
  }
}

void NcclPassage::await(std::size_t chunk) {
  wait([&] { return asker_->asked_ > chunk && lane_.staging->done(chunk); });
}

void NcclPassage::finish() {
  {
    const std::lock_guard lock(asker_->mutex_);
    asker_->all_ = true;
    asker_->changed_.notify_all();
  }
  wait([&] { return asker_->ended_; });
}

}  // namespace hopyard
