// Steps that several processes compute: a thread of the visit adds its gradients up with the other members, from the
// last layer to the first as they come out of the backward, or has a server update by them when all are there. Under
// the lock, but for what waits for them.

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
  Exchanging& own = *active.exchanging;
  own.early = sums_early(*active.trial);
  own.home.assign(active.trial->layers().size(), false);
  own.thread = std::jthread([this, &own, trial = active.trial] { run_exchanges(own, trial); });
  begin_exchange_if_due(active);
}

void Executor::note_home(Active& active, std::uint32_t begin, std::uint32_t end) {
  if (!active.exchanging) return;
  std::fill_n(active.exchanging->home.begin() + begin, end - begin, true);
  changed_.notify_all();
}

void Executor::begin_exchange_if_due(Active& active) {
  if (!active.exchanging || active.exchanging->due || active.error || stopping_) return;
  Exchanging& own = *active.exchanging;
  const bool all_home = active.slots == 0 && active.trial->at_exchange();
  if (all_home) std::fill(own.home.begin(), own.home.end(), true);
  if (!all_home && !(own.early && own.home.back())) return;
  ++active.slots;
  own.due = true;
  changed_.notify_all();
}

void Executor::run_exchanges(Exchanging& own, const std::shared_ptr<TrialRun>& trial) {
  name_thread("step exchange");
  compute_with_threads(1);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return own.due || own.over; });
    if (own.over) return;
    Active& active = active_.at(trial->setup().number);
    std::vector<StepLosses> losses;
    std::exception_ptr error;
    try {
      losses = trial->server() != nullptr ? serve_step(active, lock) : exchange_step(active, lock);
    } catch (...) {
      error = std::current_exception();
    }
    if (!lock.owns_lock()) lock.lock();
    own.due = false;
    std::fill(own.home.begin(), own.home.end(), false);
    if (!error || !stopping_)
      exchanged(active, losses, error);
    else
      changed_.notify_all();  // the step stays as it is, and nobody hears of it
  }
}

std::vector<StepLosses> Executor::serve_step(Active& active, std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  const double begin = monotonic_seconds();
  auto losses = complete_served_step(*active.trial);
  trace_exchange(*active.trial, begin);
  return losses;
}

std::vector<StepLosses> Executor::exchange_step(Active& active, std::unique_lock<std::mutex>& lock) {
  TrialRun& trial = *active.trial;
  const StepToSum step = step_to_sum(trial);
  lock.unlock();
  double begin = monotonic_seconds();
  auto losses = sum_step(trial, step, [&](std::uint32_t end) {
    lock.lock();
    if (!active.exchanging->home[end - 1]) {
      trace_exchange(trial, begin);
      await_own(active, lock, [&] { return active.exchanging->home[end - 1]; });
      begin = monotonic_seconds();
    }
    std::uint32_t first = end - 1;
    while (first > 0 && active.exchanging->home[first - 1]) --first;
    lock.unlock();
    return first;
  });
  trace_exchange(trial, begin);
  lock.lock();
  await_own(active, lock, [&] { return active.slots == 1 && trial.at_exchange(); });  // the backwards, to their ends
  return {{step.step, std::move(losses)}};
}

void Executor::await_own(const Active& active, std::unique_lock<std::mutex>& lock,
                         const std::function<bool()>& condition) {
  changed_.wait(lock, [&] { return stopping_ || active.error || condition(); });
  if (stopping_ || active.error) throw ExchangeBroken("the visit ends here");
}

void Executor::trace_exchange(const TrialRun& trial, double begin) {
  if (trace_ == nullptr) return;
  trace_->add({*exchange_track_, trial.setup().id + "/exchange", "exchange", begin, monotonic_seconds(), 0});
}

void Executor::exchanged(Active& active, std::span<const StepLosses> steps, const std::exception_ptr& error) {
  TrialRun& trial = *active.trial;
  if (error && !active.error) fail_trial(active, error);
  --active.slots;
  if (!active.error) {
    for (const auto& [step, losses] : steps) take_losses(active, step, losses);
    trial.advance();
    begin_updates(active);
    if (!active.error && !trial.visit_done()) set_idle(active, true);
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

bool Executor::waits_for_exchange() const {
  return std::any_of(active_.begin(), active_.end(), [](const auto& one) {
    return one.second.exchanging && one.second.exchanging->due && one.second.trial->at_exchange();
  });
}

void Executor::end_exchanges() {
  std::vector<std::unique_ptr<Exchanging>> ended;  // joined after the lock
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return std::none_of(active_.begin(), active_.end(),
                        [](const auto& one) { return one.second.exchanging && one.second.exchanging->due; });
  });
  for (auto& [number, active] : active_)
    if (active.exchanging) ended.push_back(std::move(active.exchanging));
  for (auto& retired : retired_exchanging_) ended.push_back(std::move(retired));
  retired_exchanging_.clear();
  for (auto& one : ended) one->over = true;
  changed_.notify_all();
}

}  // namespace hopyard
