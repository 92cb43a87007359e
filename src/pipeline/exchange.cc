// Steps that several processes compute: after a step's last backward a thread of the visit adds its gradients up with
// the other members, or has a server update by them. Under the lock, but for what waits for them.

#include <algorithm>

#include "base/clock.h"
#include "base/thread_name.h"
#include "device/compute_threads.h"
#include "pipeline/executor.h"
#include "pipeline/step_sum.h"

namespace hopyard {

void Executor::start_exchanging(Active& active) {
  if (trace_ != nullptr && !exchange_track_) exchange_track_ = trace_->track("exchange");
  active.exchanging = std::make_unique<Exchanging>();
  active.exchanging->thread =
      std::jthread([this, own = active.exchanging.get(), trial = active.trial] { run_exchanges(*own, trial); });
  begin_exchange_if_due(active);
}

void Executor::begin_exchange_if_due(Active& active) {
  if (!active.exchanging || active.slots > 0 || active.error || stopping_ || !active.trial->at_exchange()) return;
  ++active.slots;
  active.exchanging->due = true;
  changed_.notify_all();
}

void Executor::run_exchanges(Exchanging& own, const std::shared_ptr<TrialRun>& trial) {
  name_thread("step exchange");
  compute_with_threads(1);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return own.due || own.over; });
    if (own.over) return;
    lock.unlock();
    const double begin = monotonic_seconds();
    std::vector<StepLosses> losses;
    std::exception_ptr error;
    try {
      losses = complete_step(*trial);
    } catch (...) {
      error = std::current_exception();
    }
    const double end = monotonic_seconds();
    lock.lock();
    if (trace_ != nullptr) trace_->add({*exchange_track_, trial->setup().id + "/exchange", "exchange", begin, end, 0});
    own.due = false;
    exchanged(active_.at(trial->setup().number), losses, error);
  }
}

void Executor::exchanged(Active& active, std::span<const StepLosses> steps, const std::exception_ptr& error) {
  TrialRun& trial = *active.trial;
  if (error && !active.error) fail_trial(active, error);
  --active.slots;
  if (!active.error) {
    for (const auto& [step, losses] : steps) take_losses(active, step, losses);
    trial.advance();
    set_idle(active, true);
    begin_exchange_if_due(active);  // of a step that this member only stands by
  }
  finish_visit_if_done(active);
  dispatch();
}

void Executor::leave_members(const Active& active, const std::exception_ptr& error) {
  const auto& tie = active.trial->visit().tie;
  if (tie == nullptr) return;
  try {
    std::rethrow_exception(error);
  } catch (const Diverged&) {         // each member finds it by itself
  } catch (const ShardDoesNotFit&) {  // said of the trial before the others are left
  } catch (const std::exception& problem) {
    tie->cancel(problem.what());
  } catch (...) {
    tie->cancel("a member failed");
  }
}

void Executor::cancel_exchanges(const std::string& reason) {
  for (auto& [number, active] : active_)
    if (const auto& tie = active.trial->visit().tie) tie->cancel(reason);
}

bool Executor::any_exchange() const {
  return std::any_of(active_.begin(), active_.end(),
                     [](const auto& one) { return one.second.exchanging && one.second.exchanging->due; });
}

void Executor::end_exchanges() {
  std::vector<std::unique_ptr<Exchanging>> ended;  // joined after the lock
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !any_exchange(); });
  for (auto& [number, active] : active_)
    if (active.exchanging) ended.push_back(std::move(active.exchanging));
  for (auto& retired : retired_exchanging_) ended.push_back(std::move(retired));
  retired_exchanging_.clear();
  for (auto& one : ended) one->over = true;
  changed_.notify_all();
}

}  // namespace hopyard
