#include "cuda/nccl_passage.h"

#include <chrono>
#include <stdexcept>

#include "base/clock.h"
#include "base/text.h"

namespace hopyard {

namespace {

constexpr std::chrono::duration<double> kPoll(100e-6);

}  // namespace

NcclPassage::NcclPassage(NcclLane& lane, double stall_s, std::function<std::string()> failed, Steps steps)
    : lane_(lane),
      stall_s_(stall_s),
      failed_(std::move(failed)),
      thread_([shared = shared_, steps = std::move(steps)] { work(shared, steps); }) {}

NcclPassage::~NcclPassage() {
  const std::lock_guard lock(shared_->mutex);
  shared_->given_up = true;
  shared_->changed.notify_all();
}

void NcclPassage::work(const std::shared_ptr<Shared>& shared, const Steps& steps) {
  std::unique_lock lock(shared->mutex);
  try {
    while (true) {
      const auto next = [&] { return shared->handed > shared->asked || shared->all || shared->given_up; };
      shared->changed.wait(lock, next);
      if (shared->given_up || shared->handed == shared->asked) break;
      const std::size_t chunk = shared->asked;
      lock.unlock();
      steps.ask(chunk);
      lock.lock();
      ++shared->asked;
      shared->changed.notify_all();
    }
    if (!shared->given_up && steps.end) {
      lock.unlock();
      steps.end();
      lock.lock();
    }
  } catch (const std::exception& problem) {
    if (!lock.owns_lock()) lock.lock();
    shared->error = problem.what();
  }
  shared->ended = true;
  shared->changed.notify_all();
}

void NcclPassage::hand_over() {
  const std::lock_guard lock(shared_->mutex);
  ++shared_->handed;
  shared_->changed.notify_all();
}

template <class Condition>
void NcclPassage::wait(const Condition& holds) {
  const double until_s = monotonic_seconds() + stall_s_;
  for (std::unique_lock lock(shared_->mutex);; shared_->changed.wait_for(lock, kPoll)) {
    if (!shared_->error.empty()) throw std::runtime_error(shared_->error);
    if (holds()) return;
    lock.unlock();
    if (const std::string why = failed_(); !why.empty()) throw std::runtime_error(why);
    lane_.communicator->check();
    lock.lock();
    if (monotonic_seconds() > until_s) throw std::runtime_error(text::cat("nothing moved for ", stall_s_, " s"));
  }
}

void NcclPassage::await(std::size_t chunk) {
  wait([&] { return shared_->asked > chunk && lane_.staging->done(chunk); });
}

void NcclPassage::finish() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->all = true;
    shared_->changed.notify_all();
  }
  wait([&] { return shared_->ended; });
}

}  // namespace hopyard
