#include "pipeline/executor.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/failure.h"
#include "base/thread_name.h"
#include "cuda/ranges.h"
#include "pipeline/outcome.h"

namespace hopyard {

Executor::Executor(const ExecuteSpec& spec, std::uint64_t seed, std::vector<std::unique_ptr<Device>> devices,
                   HostTier& host, TraceRecorder* trace)
    : spec_(spec),
      scheduler_kind_(spec.scheduler.value_or(SchedulerKind::lrtf)),
      host_(host),
      trace_(trace),
      scheduler_(make_scheduler(scheduler_kind_, seed)) {
  for (auto& device : devices) {
    auto state = std::make_unique<DeviceState>();
    state->index = static_cast<std::uint32_t>(devices_.size());
    state->limit = device->account().limit();
    state->report.name = device->name();
    if (trace_ != nullptr) state->track = trace_->track(device->name() + "/compute");
    state->device = std::move(device);
    devices_.push_back(std::move(state));
  }
  int threads = 0;
  for (const auto& device : devices_)
    if (device->device->has_own_memory()) threads += device->device->spec().threads;
  if (threads > 0)
    host_updates_ = std::make_unique<HostUpdates>(
        std::min(threads, static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))));
  for (auto& device : devices_) device->thread = std::thread([this, state = device.get()] { run_device(*state); });
}

Executor::~Executor() {
  end();
  for (auto& device : devices_) device->device.reset();  // ends the engines, whose last callbacks still name us
}

void Executor::end() {
  stop();
  for (auto& device : devices_)
    if (device->thread.joinable()) device->thread.join();
  // Trials and slots are let go without the lock, which their disk work takes to wake us.
  std::vector<std::shared_ptr<Slot>> last;
  {
    const std::lock_guard lock(mutex_);
    for (auto& device : devices_) {
      if (device->current) device->ahead.push_front(std::move(device->current));
      for (; !device->ahead.empty(); device->ahead.pop_back()) {
        give_up(*device, device->ahead.back());
        last.push_back(device->ahead.back());
      }
    }
    for (auto& [number, active] : active_) {
      last.insert(last.end(), active.updates.begin(), active.updates.end());
      drop_updates(active);
    }
  }
  end_exchanges();  // now that no task has what they wait for
  std::map<std::uint32_t, Active> visits;
  std::vector<std::shared_ptr<TrialRun>> retired;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return transfers_in_flight_ == 0; });
    for (auto& device : devices_) {
      for (auto& [trial, resident] : device->residents) {
        unpin(*resident.slot, resident.dirty);
        last.push_back(std::move(resident.slot));
      }
      device->residents.clear();
      device->kept.clear();
    }
    visits.swap(active_);
    retired.swap(retired_);
  }
  host_updates_.reset();
}

void Executor::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  cancel_exchanges("the worker stops");
  changed_.notify_all();
  finished_changed_.notify_all();
}

void Executor::wake() {
  const std::lock_guard lock(mutex_);
  dispatch();
}

void Executor::nudge() {
  const std::lock_guard lock(mutex_);
  nudged_ = true;
  finished_changed_.notify_all();
}

void Executor::set_committing(std::uint32_t count) {
  const std::lock_guard lock(mutex_);
  committing_ = count;
  changed_.notify_all();
}

void Executor::start_visit(std::shared_ptr<TrialRun> trial, Visit visit) {
  const std::lock_guard lock(mutex_);
  const std::uint32_t number = trial->setup().number;
  require(!active_.contains(number), "trial ", trial->setup().id, " is in a visit already");
  trial->begin_visit(std::move(visit));
  Active& active = active_[number];
  active.trial = std::move(trial);
  active.begun = ++visits_begun_;
  set_idle(active, true);
  if (exchanges_gradients(active.trial->setup())) start_exchanging(active);
  if (std::all_of(devices_.begin(), devices_.end(), [](const auto& device) { return device->failed; }))
    fail_trial(active, devices_.front()->device->failure());
  else
    finish_visit_if_done(active);
  dispatch();
}

bool Executor::abandon_visit(std::uint32_t trial) {
  const std::lock_guard lock(mutex_);
  const auto found = active_.find(trial);
  if (found == active_.end()) return false;
  if (!found->second.error)
    fail_trial(found->second, std::make_exception_ptr(Abandoned(found->second.trial->setup().id + ": abandoned")));
  dispatch();
  return true;
}

std::optional<VisitResult> Executor::wait_finished(double timeout_s) {
  std::vector<std::shared_ptr<TrialRun>> retired;  // these die after the lock
  std::vector<std::unique_ptr<Exchanging>> exchanging;
  std::unique_lock lock(mutex_);
  finished_changed_.wait_for(lock, std::chrono::duration<double>(timeout_s),
                             [&] { return stopping_ || nudged_ || !finished_.empty(); });
  nudged_ = false;
  retired.swap(retired_);
  exchanging.swap(retired_exchanging_);
  if (finished_.empty()) return std::nullopt;
  VisitResult result = std::move(finished_.front());
  finished_.pop_front();
  return result;
}

std::vector<DeviceReport> Executor::devices() const {
  const std::lock_guard lock(mutex_);
  std::vector<DeviceReport> reports;
  for (const auto& device : devices_) {
    DeviceReport report = device->report;
    report.task = device->current ? device->current->label() : "";
    report.memory_budget = device->device->account().limit() + device->device->spec().overhead;
    report.memory_used = device->device->account().used();
    report.memory_peak = device->device->account().peak();
    report.link = device->device->counters();
    reports.push_back(std::move(report));
  }
  return reports;
}

std::vector<ActiveReport> Executor::active() const {
  const std::lock_guard lock(mutex_);
  std::vector<ActiveReport> reports;
  for (const auto& [number, active] : active_)
    reports.push_back({number, active.trial->visit_fraction(), active.loss, active.trial->setup().plan.shards.size()});
  return reports;
}

std::string Executor::diagnosis() const {
  const std::lock_guard lock(mutex_);
  const auto slot_text = [](const std::shared_ptr<Slot>& slot) {
    return slot ? text::cat(slot->label(), " (", to_string(slot->state), slot->pinned ? ", pinned" : "",
                            slot->state_loaded ? ", loaded" : "", slot->inputs_there() ? ", inputs there" : "", ")")
                : std::string("none");
  };
  std::string lines;
  for (const auto& device : devices_) {
    std::string ahead;
    for (const auto& slot : device->ahead) ahead += text::cat(", then ", slot_text(slot));
    lines +=
        text::cat(device->report.name, ": computes ", slot_text(device->current), ahead, ", ", device->storing.size(),
                  " storing, ", device->residents.size(), " resident, ", device->given_up_loads, " given up, ledger ",
                  device->ledger->load(), ", in use ", device->device->account().used(), " of ",
                  device->device->account().limit(), ", waits for ", idle_cause(*device), "\n");
  }
  for (const auto& [number, active] : active_)
    lines += text::cat(active.trial->setup().id, ": ", active.slots, " slots", active.idle ? ", idle" : "",
                       active.exchanging && active.exchanging->due ? ", exchanging" : "",
                       active.trial->visit_done() ? ", done" : "", ", ", active.updates.size(), " updates waiting, ",
                       active.updates_under_way, " under way\n");
  return lines + text::cat(transfers_in_flight_, " transfers in flight\n");
}

void Executor::run_device(DeviceState& device) {
  name_thread(device.device->name());
  device.device->enter_compute();
  std::unique_lock lock(mutex_);
  while (auto slot = await_next(device, lock)) {
    device.ahead.pop_front();
    device.shallow = false;
    device.current = slot;
    slot->go(SlotState::computing);
    find_kept(device, *slot);
    drop_kept(device, slot->workspace);
    keep_if_room(device, *slot);
    find_record(device, *slot);
    // Whoever read what was at this boundary has ended: tasks of one trial follow each other.
    if (slot->output != nullptr) slot->output->clear();
    dispatch();
    while (slot->state == SlotState::computing) {
      lock.unlock();
      const double begin = monotonic_seconds();
      Outcome outcome;
      std::exception_ptr error;
      std::optional<DeviceOutOfMemory> out_of_memory;
      try {
        const ProfilerRange range(slot->label());
        outcome = compute_to_end(device, *slot);
      } catch (const DeviceOutOfMemory& full) {
        out_of_memory = full;
      } catch (...) {
        error = std::current_exception();
      }
      const double end = monotonic_seconds();
      lock.lock();
      device.report.busy_s += end - begin;
      slot->trial->result().busy_s += end - begin;
      if (trace_ != nullptr)
        trace_->add(
            {device.track, slot->label() + (out_of_memory ? " (out of memory)" : ""), "compute", begin, end, 0});
      if (out_of_memory) {
        if (recover(device, slot, *out_of_memory)) continue;
      } else if (error) {
        device.current = nullptr;
        give_up(device, slot);
        fail_all_if_failed(device);
        if (const auto still = active_.find(slot->trial->setup().number); still != active_.end())
          fail_trial(still->second, error);
      } else {
        ++device.report.tasks;
        complete(device, slot, std::move(outcome));
      }
      break;
    }
    dispatch();
    lock.unlock();
    slot.reset();  // may be the trial's last holder
    lock.lock();
  }
}

std::shared_ptr<Slot> Executor::await_next(DeviceState& device, std::unique_lock<std::mutex>& lock) {
  dispatch();
  double since = monotonic_seconds();
  while (!stopping_) {
    if (!device.ahead.empty() && may_compute(device, *device.ahead.front())) return device.ahead.front();
    const std::string cause = idle_cause(device);
    changed_.wait(lock);
    const double now = monotonic_seconds();
    account_idle(device, cause, since, now);
    since = now;
  }
  return nullptr;
}

std::string Executor::idle_cause(const DeviceState& device) const {
  if (device.ahead.empty()) {
    if (device.refused_for_memory) return "memory";
    if (waits_for_exchange()) return "exchange";
    if (waits_for_update()) return "update";
    if (!active_.empty()) return "no idle trial";
    return committing_ > 0 ? "commit" : "no work";
  }
  const Slot& slot = *device.ahead.front();
  const bool to_load = slot.pinned && !slot.state_requested, to_compute = slot.state == SlotState::ready;
  if (slot.early && (to_load || to_compute) && !has_room(device, slot, to_load ? 0 : slot.workspace)) return "memory";
  if (!slot.pinned) return slot.trial->has_copies(slot.pins) || !slot.trial->rounds_copies() ? "disk" : "rounding";
  if (!slot.state_requested) return "store";
  if (!slot.state_loaded || !slot.frozen_there()) return "load";
  return "activation";
}

void Executor::account_idle(DeviceState& device, const std::string& cause, double begin, double end) {
  device.report.idle_s[cause] += end - begin;
  if (trace_ != nullptr && end - begin > 1e-4) trace_->add({device.track, cause, "idle", begin, end, 0});
}

/// Bytes that a device was to move when it failed are not where they should be: no trial's state may be taken for good
/// that might have been among them.
void Executor::fail_all_if_failed(DeviceState& device) {
  const std::exception_ptr failure = device.device->failure();
  if (!failure || device.failed) return;
  device.failed = true;
  std::vector<std::uint32_t> numbers;
  for (const auto& [number, active] : active_) numbers.push_back(number);
  for (const auto number : numbers)
    if (const auto active = active_.find(number); active != active_.end() && !active->second.error)
      fail_trial(active->second, failure);
}

void Executor::fail_trial(Active& active, std::exception_ptr error) {
  if (!active.error) active.error = error;
  leave_members(active, error);
  set_idle(active, false);
  forget_kept(*active.trial);
  drop_updates(active);
  for (auto& device : devices_) {
    for (auto slot = device->ahead.rbegin(); slot != device->ahead.rend(); ++slot)
      if ((*slot)->trial == active.trial) give_up(*device, *slot);
    std::erase_if(device->ahead, [&](const auto& slot) { return slot->cancelled; });
  }
  finish_visit_if_done(active);
}

void Executor::finish_visit_if_done(Active& active) {
  if (active.slots > 0 || (!active.error && !active.trial->visit_done())) return;
  const std::uint32_t number = active.trial->setup().number;
  for (auto& device : devices_) {
    const auto resident = device->residents.find(number);
    if (resident == device->residents.end()) continue;
    unpin(*resident->second.slot,
          resident->second.dirty);  // only after an error: else it was stored with the last task
    device->residents.erase(resident);
  }
  set_idle(active, false);
  for (auto& device : devices_)
    if (device->bound == number) device->bound.reset();
  forget_kept(*active.trial);
  if (active.exchanging) {
    active.exchanging->over = true;
    active.exchanging->tie = active.trial->visit().tie;
    retired_exchanging_.push_back(std::move(active.exchanging));
  }
  VisitResult result = active.trial->take_result();
  result.error = active.error;
  retired_.push_back(active.trial);
  active_.erase(number);
  finished_.push_back(std::move(result));
  finished_changed_.notify_all();
  changed_.notify_all();
}

}  // namespace hopyard
