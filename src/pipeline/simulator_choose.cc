// What simulated devices choose, as Executor::choose does.
#include <algorithm>
#include <utility>

#include "pipeline/simulator_events.h"

namespace hopyard::sim {

/// Devices that have nothing come first, then those that have nothing after what they compute, then longer queues.
void Simulation::dispatch() {
  choose_what_fits();
  if (!options_.double_buffer) return;
  for (std::uint32_t d = 0; d < devices_.size(); ++d) {
    if (may_choose_early(devices_[d])) choose_for(d, true);
  }
}

void Simulation::choose_what_fits() {
  for (std::uint32_t d = 0; d < devices_.size(); ++d) {
    if (!devices_[d].running && devices_[d].ahead.empty()) choose_for(d);
  }
  if (!options_.double_buffer) return;
  for (std::uint32_t d = 0; d < devices_.size(); ++d) {
    if (devices_[d].running && devices_[d].ahead.empty()) choose_for(d);
  }
  for (bool chosen = options_.lookahead > 1; chosen;) {
    chosen = false;
    for (std::uint32_t d = 0; d < devices_.size(); ++d) {
      if (!devices_[d].ahead.empty()) chosen |= choose_for(d);
    }
  }
}

bool Simulation::may_choose(const Device& device) const {
  if (!options_.double_buffer && now_s_ < device.store_free_s) return false;
  return device.ahead.size() < options_.lookahead;
}

/// Its room will come with what the device computes and stores.
bool Simulation::may_choose_early(const Device& device) const {
  return options_.choose_early && device.ahead.empty() && device.refused;
}

bool Simulation::choose_for(std::uint32_t d, bool early) {
  Device& device = devices_[d];
  if (!may_choose(device)) return false;
  const bool deepens = !device.ahead.empty();
  const bool after_refusal = !deepens && std::exchange(device.refused, false);
  const bool holds_nothing = !device.running && !deepens;
  const auto picked = holds_nothing ? choose_idle(device, early) : choose_beside(device, early);
  if (!picked) return false;
  take(d, *picked, after_refusal, early);
  try_load(d);
  try_compute(d);
  return true;
}

void Simulation::take(std::uint32_t d, std::uint32_t index, bool after_refusal, bool early) {
  Device& device = devices_[d];
  Trial& trial = trials_[index];
  Held held;
  held.trial = index;
  held.task = &trial.chosen.task();
  held.after_refusal = after_refusal;
  held.chosen_s = now_s_;
  held.copy = copy_there(device, index, *held.task);
  held.takes_over = held.copy != nullptr;
  if (!held.copy) held.copy = std::make_shared<Copy>();
  const Bytes before = device.used;
  share(device, *held.copy, held.own_bytes());
  held.frozen = hold_frozen(device, *held.task);
  if (held.frozen) share(device, held.frozen->copy, held.task->frozen_bytes);
  held.early = early;
  if (early) held.pending = device.used - before;
  device.pending += held.pending;
  device.ahead.push_back(std::move(held));
  device.refused = false;
  note_peak(device);
  if (trial.idle) scheduler_->remove(index);
  trial.idle = false;
  trial.visit_chosen = trial.chosen.ends_visit();
  trial.chosen.advance();
  if (options_.interleave) return;
  device.home = index;
  trial.at_home = true;
}

std::optional<std::uint32_t> Simulation::choose_idle(Device& device, bool early) {
  if (!device.home) return pick(device, early);
  return trials_[*device.home].idle && admits(device, *device.home, early) ? device.home : std::nullopt;
}

/// For a device that has tasks: an idle trial, or the next task of one that it has.
std::optional<std::uint32_t> Simulation::choose_beside(Device& device, bool early) {
  auto own = trials_held(device);
  if (!device.ahead.empty() && own.size() > 1 && another_starves(device)) return std::nullopt;
  const bool all_end = std::all_of(own.begin(), own.end(), [&](std::uint32_t i) { return trials_[i].chosen.done(); });
  std::erase_if(own, [&](std::uint32_t i) { return !trials_[i].can_follow(); });
  if (own.empty()) return options_.interleave || all_end ? pick(device, early) : std::nullopt;
  if (options_.interleave && options_.successor_competes) {
    for (const std::uint32_t i : own) scheduler_->add(as_idle(i));
    const auto best = pick(device, early, own);
    for (const std::uint32_t i : own) scheduler_->remove(i);
    return best;
  }
  if (options_.interleave) {
    if (const auto idle = pick(device, early)) return idle;
  }
  const auto first = std::find_if(own.begin(), own.end(), [&](std::uint32_t i) { return admits(device, i, early); });
  return first == own.end() ? std::nullopt : std::optional(*first);
}

/// The best trial whose next task fits the device now, among the idle ones and `own`, which stand as idle.
std::optional<std::uint32_t> Simulation::pick(Device& device, bool early, const std::vector<std::uint32_t>& own) {
  bool full = false;  // a longer queue is filled in order: what happens to fit would be kept from other devices
  const auto accepts = [&](std::uint32_t index) {
    const bool elsewhere = trials_[index].at_home && std::find(own.begin(), own.end(), index) == own.end();
    if (elsewhere || full || reads_what_is_updated(device, index)) return false;
    const bool fits = admits(device, index, early);
    full = !fits && !device.ahead.empty() && trials_[index].moves;
    return fits;
  };
  if (options_.scheduler != SchedulerKind::lrtf) return scheduler_->pick(accepts);
  return pick_sharing(*scheduler_, accepts, [&](std::uint32_t index) { return standing_of(device, index); });
}

Standing Simulation::standing_of(const Device& device, std::uint32_t index) const {
  const SimCursor& chosen = trials_[index].chosen;
  const SimTask& task = chosen.task();
  const auto users = frozen_users_.find(task.frozen);
  const bool shares = users != frozen_users_.end() && users->second > 1 && task.frozen_load_s > task.compute_s;
  return {chosen.remaining_s(), chosen.step_s(), chosen.step_left(), shares,
          shares && frozen_there(device, task) != nullptr};
}

std::vector<std::uint32_t> Simulation::trials_held(const Device& device) const {
  std::vector<std::uint32_t> held;
  if (device.running) held.push_back(device.running->trial);
  for (const Held& task : device.ahead) {
    if (std::find(held.begin(), held.end(), task.trial) == held.end()) held.push_back(task.trial);
  }
  return held;
}

bool Simulation::another_starves(const Device& device) const {
  return std::any_of(devices_.begin(), devices_.end(),
                     [&](const Device& other) { return &other != &device && !other.running && other.ahead.empty(); });
}

bool Simulation::admits(Device& device, std::uint32_t index, bool early) {
  const bool deepens = !device.ahead.empty();
  if (reads_what_is_updated(device, index)) return false;
  if (deepens && !trials_[index].moves) return false;     // nothing to bring ahead
  const bool fits = early || fits_beside(device, index);  // by itself, every task does
  if (!fits && !deepens) device.refused = true;
  return fits;
}

bool Simulation::reads_what_is_updated(const Device& device, std::uint32_t index) const {
  const Trial& trial = trials_[index];
  const std::uint32_t shard = trial.chosen.task().shard;
  const auto updates = [&](const Held& held) { return same_shard(held, index, shard) && held.task->host_update_s > 0; };
  return (shard < trial.updated_s.size() && now_s_ < trial.updated_s[shard]) ||
         (device.running && updates(*device.running)) || std::any_of(device.ahead.begin(), device.ahead.end(), updates);
}

bool Simulation::fits_beside(const Device& device, std::uint32_t index) const {
  if (options_.memory == 0 || (device.used == 0 && !device.running && device.ahead.empty())) return true;
  const SimTask& task = trials_[index].chosen.task();
  const auto copy = copy_there(device, index, task);
  const Bytes own = task.state_bytes - task.frozen_bytes;
  const Bytes need =
      own - (copy ? std::min(own, copy->reserved) : 0) + (frozen_there(device, task) ? 0 : task.frozen_bytes);
  Bytes workspace = task.workspace_bytes;
  if (device.running) workspace = std::max(workspace, device.running->task->workspace_bytes);
  for (const Held& held : device.ahead) workspace = std::max(workspace, held.task->workspace_bytes);
  return device.used + need + workspace <= options_.memory;
}

std::shared_ptr<FrozenCopy> Simulation::frozen_there(const Device& device, const SimTask& task) {
  const auto found = device.frozen.find(task.frozen);
  return found == device.frozen.end() ? nullptr : found->second.lock();
}

/// Null for a task without frozen bytes.
std::shared_ptr<FrozenCopy> Simulation::hold_frozen(Device& device, const SimTask& task) {
  if (task.frozen_bytes == 0) return nullptr;
  auto held = frozen_there(device, task);
  if (!held) device.frozen[task.frozen] = held = std::make_shared<FrozenCopy>();
  return held;
}

/// What a task that only reads can take over; null where it must load.
std::shared_ptr<Copy> Simulation::copy_there(const Device& device, std::uint32_t index, const SimTask& task) const {
  if (!options_.double_buffer || task.store_s > 0) return nullptr;
  for (auto held = device.ahead.rbegin(); held != device.ahead.rend(); ++held) {
    if (same_shard(*held, index, task.shard)) return held->copy;
  }
  if (device.running && same_shard(*device.running, index, task.shard)) return device.running->copy;
  for (const Stored& stored : device.storing) {  // the newest bytes, or another device has written since
    const bool newest = stored.end_s == stored_s(index, task.shard);
    if (stored.trial == index && stored.shard == task.shard && newest) return stored.copy;
  }
  return nullptr;
}

}  // namespace hopyard::sim
