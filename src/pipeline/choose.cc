// Choosing tasks for devices. Everything here runs under the executor's lock and never waits.
#include <algorithm>

#include "pipeline/executor.h"

namespace hopyard {

namespace {

constexpr int kDispatchAttempts = 1000;  // more than a model has layers to cut and an experiment trials to fail

/// What comes to the task from tasks before.
Bytes input_bytes(TrialRun& trial, const PlannedTask& planned) {
  const Boundary* gradient = trial.gradient_of(planned);
  return charged_bytes(trial.activation_bytes(planned)) +
         (gradient == nullptr ? 0 : charged_bytes(gradient->host.size()));
}

Bytes workspace_of(const TrialRun& trial, const TaskRef& task) {
  const auto& plan = trial.shard(task.shard);
  if (task.kind == TaskKind::update) return 0;
  return task.kind == TaskKind::backward ? plan.backward_workspace : plan.forward_workspace;
}

}  // namespace

IdleTrial Executor::as_idle(const Active& active, std::uint32_t tasks_held) {
  return {active.trial->setup().number, active.trial->remaining_s(tasks_held), active.trial->total_s(), active.begun};
}

void Executor::set_idle(Active& active, bool idle) {
  if (active.idle == idle) return;
  const std::uint32_t number = active.trial->setup().number;
  if (idle && active.trial->at_exchange()) return;  // no device's
  active.idle = idle;
  if (idle)
    scheduler_->add(as_idle(active, 0));
  else
    scheduler_->remove(number);
}

void Executor::dispatch() {
  if (!stopping_)
    for (int attempt = 0; attempt < kDispatchAttempts && get_on(); ++attempt) continue;
  changed_.notify_all();
}

bool Executor::get_on() {
  bool changed = false;
  const auto choose_where = [&](const auto& condition) {
    for (auto& device : devices_)
      if (condition(*device)) changed |= choose(*device);
  };
  // Devices that have nothing come first, then those that have nothing after what they compute.
  choose_where([](const DeviceState& device) { return device.ahead.empty() && !device.current; });
  choose_where([](const DeviceState& device) { return device.ahead.empty(); });
  choose_where([](const DeviceState& device) { return !device.ahead.empty(); });
  if (!changed)
    for (auto& device : devices_)
      if (may_choose_early(*device)) changed |= choose(*device, true);
  std::vector<std::uint32_t> updating;  // submitting may end a visit
  for (const auto& [number, active] : active_)
    if (!active.updates.empty()) updating.push_back(number);
  for (const auto number : updating)
    if (const auto active = active_.find(number); active != active_.end()) changed |= submit_updates(active->second);
  for (auto& device : devices_) changed |= fetch(*device);
  return changed;
}

bool Executor::quiet(const DeviceState& device) const {
  return !device.current && device.storing.empty() && device.stores_in_flight == 0 && device.given_up_loads == 0;
}

std::uint32_t Executor::tasks_held(const DeviceState& device, const TrialRun& trial) const {
  const auto queued = std::count_if(device.ahead.begin(), device.ahead.end(),
                                    [&](const auto& slot) { return slot->trial.get() == &trial; });
  const bool runs = device.current && device.current->trial.get() == &trial;
  return static_cast<std::uint32_t>(queued) + (runs ? 1 : 0);
}

std::vector<Executor::Active*> Executor::trials_held(DeviceState& device) {
  std::vector<Active*> held;
  const auto add = [&](const std::shared_ptr<Slot>& slot) {
    const auto found = active_.find(slot->trial->setup().number);
    if (found == active_.end() || found->second.error || found->second.trial != slot->trial) return;
    if (std::find(held.begin(), held.end(), &found->second) == held.end()) held.push_back(&found->second);
  };
  if (device.current) add(device.current);
  for (const auto& slot : device.ahead) add(slot);
  return held;
}

bool Executor::may_choose(const DeviceState& device) const {
  if (device.failed) return false;
  if (device.current && device.current->out_of_memory > 0) return false;  // it is to be alone
  if (!spec_.double_buffer) return device.ahead.empty() && !device.current && device.storing.empty();
  const bool deep = device.device->has_own_memory() && !device.shallow;
  return device.ahead.size() < (deep ? spec_.lookahead : 1);
}

/// Its load begins as soon as there is room for its bytes, and it computes when its workspace has room, too. Not where
/// an allocator keeps two pools, which would have to give each other what is let go.
bool Executor::may_choose_early(const DeviceState& device) const {
  return device.ahead.empty() && device.refused_for_memory && spec_.double_buffer && device.device->has_own_memory() &&
         device.device->tensor_account() != nullptr;
}

Bytes Executor::leaving_bytes(const DeviceState& device) const {
  Bytes bytes = 0;
  const auto add = [&](const DeviceHold& hold) { bytes += hold && hold.use_count() == 1 ? hold->bytes() : 0; };
  const auto add_all = [&](const Slot& slot) {
    for (const auto& layer : slot.layers)
      for (const auto* hold : {&layer.parameters, &layer.copies, &layer.moments}) add(*hold);
  };
  if (device.current && !device.current->trial->resident()) add_all(*device.current);
  for (const auto& slot : device.storing) add_all(*slot);
  return bytes;
}

bool Executor::has_room(const DeviceState& device, const Slot& slot, Bytes workspace) const {
  const Bytes inputs = slot.state_requested ? 0 : input_bytes(*slot.trial, slot.task);  // later they are in the ledger
  return quiet(device) || *device.ledger - kept_bytes(device) + inputs + workspace <= usable_memory(device.limit);
}

bool Executor::choose(DeviceState& device, bool early) {
  if (!may_choose(device)) return false;
  const bool deepens = !device.ahead.empty();
  auto held = trials_held(device);
  if (deepens && held.size() > 1) {
    // What is held here cannot run elsewhere: not while another device has nothing.
    const auto starves = [&](const auto& other) {
      return other.get() != &device && !other->current && other->ahead.empty();
    };
    if (std::any_of(devices_.begin(), devices_.end(), starves)) return false;
  }
  if (!deepens) device.refused_for_memory = false;
  // The trials that the device has tasks of stand for choice among the idle ones, with the task that follows those:
  // else the longest trial would lose its device after each task (docs/GOTCHAS.md has the figures).
  const auto task_of = [&](const Active& active) {
    const auto task = active.trial->peek(tasks_held(device, *active.trial));
    return task && is_for_device(active, task->task) ? task : std::nullopt;
  };
  std::erase_if(held, [&](const Active* active) { return !task_of(*active); });
  bool full = false;
  const auto accepts = [&](std::uint32_t number) {
    const Active& active = active_.at(number);
    const auto task = task_of(active);
    if (!task) return false;
    if (active.home && *active.home != device.index) return false;
    if (deepens && active.trial->resident()) return false;  // resident: nothing to bring ahead
    if (!spec_.interleave) {
      if (device.bound ? *device.bound != number : std::any_of(devices_.begin(), devices_.end(), [&](const auto& d) {
            return d->bound == number;
          }))
        return false;
    }
    if (!full && fits(device, *active.trial, *task, early)) return true;
    // A longer queue is filled in order: what happens to fit would be kept from other devices.
    (deepens ? full : device.refused_for_memory) = true;
    return false;
  };
  for (const Active* active : held) scheduler_->add(as_idle(*active, tasks_held(device, *active->trial)));
  const auto picked = pick(device, accepts);
  for (const Active* active : held) scheduler_->remove(active->trial->setup().number);
  if (!picked) return false;
  Active& active = active_.at(*picked);
  const PlannedTask planned = *task_of(active);
  set_idle(active, false);
  assign(device, active, planned, early);
  return true;
}

/// Not what somebody else does. What reads bytes that are being updated waits, and would hold up all behind it.
bool Executor::is_for_device(const Active& active, const TaskRef& task) const {
  if (task.kind == TaskKind::exchange) return false;
  if (task.kind == TaskKind::update && host_updates_ != nullptr) return false;
  return !reads_what_is_updated(active, task);
}

bool Executor::fits(const DeviceState& device, TrialRun& trial, const PlannedTask& planned, bool early) const {
  if (!device.device->has_own_memory()) return true;
  // Alone on the device, whether it fits is found by trying: the figures are predictions.
  const bool alone = quiet(device) && device.ahead.empty() &&
                     (device.residents.empty() || device.residents.contains(trial.setup().number));
  if (alone) return true;
  Bytes need = input_bytes(trial, planned);
  const Bytes leaving = early ? leaving_bytes(device) : 0;
  const auto& plan = trial.shard(planned.task.shard);
  for (std::uint32_t l = plan.begin; l < plan.end; ++l) {
    const auto& layer = trial.layers()[l];
    const LayerOnDevice there =  // what leaves would be counted twice
        early ? LayerOnDevice() : bytes_there(device, trial, planned.task, l, layer.writes_chosen, nullptr);
    const OwnNeeds needs = trial.own_needs(planned.task);
    if (needs.parameters && !there.parameters) need += charged_bytes(layer.own.bytes);
    if ((needs.copies && !there.copies) || needs.new_copies) need += packed_bytes(layer.own.bytes);
    if (!there.moments && trial.updates_in(planned.task) && layer.moments)
      need += charged_bytes(moment_bytes(trial.setup(), layer.own));
    if (!find_frozen(device, frozen_key(trial, l, std::nullopt)))
      need += charged_bytes(trial.read_bytes(layer, Part::shared));
  }
  need += borrowed_bytes_missing(device, trial, plan);
  const Bytes workspace = std::max(workspace_of(trial, planned.task), workspace_needed(device));
  return *device.ledger - kept_bytes(device) - leaving + need + workspace <= usable_memory(device.limit);
}

Bytes Executor::workspace_needed(const DeviceState& device) const {
  Bytes workspace = device.current ? device.current->workspace : 0;
  for (const auto& slot : device.ahead) workspace = std::max(workspace, slot->workspace);
  // A device that counts for itself has two pools, for what is loaded and what is computed, and moving memory from one
  // to the other makes everything wait: room for the widest task of any trial is always left.
  if (device.device->tensor_account() == nullptr)
    for (const auto& [number, active] : active_)
      workspace = std::max(workspace, largest_workspace(active.trial->setup().plan));
  return workspace;
}

LayerOnDevice Executor::bytes_there(const DeviceState& device, const TrialRun& trial, const TaskRef& task,
                                    std::uint32_t layer, std::uint64_t after, const Slot* until) const {
  LayerOnDevice there;
  const auto& state = trial.layers()[layer];
  const auto take = [&](const Slot& from) {
    const auto& held = from.layers[layer - from.first_layer];
    if (!there.parameters) there.parameters = held.parameters;
    if (!there.copies) there.copies = held.copies;
    if (!there.moments && trial.updates_in(task) && state.moments) there.moments = held.moments;
  };
  const auto resident = device.residents.find(trial.setup().number);
  if (resident != device.residents.end()) {
    if (resident->second.slot->holds(layer)) take(*resident->second.slot);
    return there;
  }
  // An update in place must not touch bytes that are still on their way home, or will be.
  const bool in_place = trial.updates_in(task) && state.trainable && !trial.resident();
  if (in_place && state.writes_home < after) return there;
  const auto consider = [&](const std::shared_ptr<Slot>& slot) {
    if (!slot || slot->layers.empty() || !slot->holds(layer) || slot->trial.get() != &trial) return;
    const auto i = layer - slot->first_layer;
    const bool advanced = state.trainable && trial.updates_in(slot->task.task);
    if (slot->after[i] + (advanced ? 1 : 0) == after) take(*slot);
  };
  consider(device.current);
  for (const auto& slot : device.storing) consider(slot);
  for (const auto& slot : device.ahead) {
    if (slot.get() == until) break;
    consider(slot);
  }
  return there;
}

std::shared_ptr<Slot> Executor::new_slot(const Active& active, const PlannedTask& planned) {
  auto slot = std::make_shared<Slot>();
  const TrialRun& trial = *active.trial;
  const TaskRef& task = planned.task;
  slot->trial = active.trial;
  slot->task = planned;
  slot->writes = task.kind == TaskKind::backward || task.kind == TaskKind::update;
  slot->first_layer = trial.shard(task.shard).begin;
  slot->end_layer = trial.shard(task.shard).end;
  slot->written = trial.blobs_written_by(task);
  slot->pins = trial.blobs_of(task);
  for (const auto& layer : slot->trial_layers()) slot->after.push_back(layer.writes_chosen);
  return slot;
}

void Executor::choose_writes(const Slot& slot) {
  if (slot.writes)
    for (auto& layer : slot.trial_layers())
      if (layer.trainable) ++layer.writes_chosen;
}

void Executor::assign(DeviceState& device, Active& active, const PlannedTask& planned, bool early) {
  auto slot = new_slot(active, planned);
  slot->early = early;
  TrialRun& trial = *active.trial;
  slot->device = device.index;
  slot->workspace = workspace_of(trial, planned.task);
  const auto expect = [](SlotInput& input, Boundary* boundary) {
    input.boundary = boundary;
    if (boundary != nullptr) input.turn = boundary->promised;
  };
  expect(slot->activation, trial.input_of(planned));
  expect(slot->gradient, trial.gradient_of(planned));
  slot->activation.features = trial.features_for(planned);
  slot->output = trial.output_of(planned);
  if (slot->output != nullptr) ++slot->output->promised;
  if (device.device->has_own_memory()) take_over(device, *slot);
  choose_writes(*slot);
  ++active.slots;
  if (!spec_.interleave) device.bound = trial.setup().number;
  if (trial.resident() && device.device->has_own_memory()) active.home = device.index;
  forget_kept(trial, &device);  // nobody will come for it there
  device.ahead.push_back(std::move(slot));
  if (device.device->has_own_memory() && !early) drop_kept(device, workspace_needed(device));
}

void Executor::take_over(DeviceState& device, Slot& slot) {
  TrialRun& trial = *slot.trial;
  const TaskRef& task = slot.task.task;
  const auto& plan = trial.shard(task.shard);
  const OwnNeeds needs = trial.own_needs(task);
  const auto reserve = [&](DeviceHold& hold, bool& fresh, Bytes bytes, at::ScalarType type = at::kFloat) {
    if (hold || bytes == 0) return;
    hold = std::make_shared<DeviceBytes>(device.ledger, charged_bytes(bytes));
    hold->type = type;
    fresh = true;
  };
  for (std::uint32_t l = plan.begin; l < plan.end; ++l) {
    const auto& layer = trial.layers()[l];
    LayerOnDevice mine = bytes_there(device, trial, task, l, layer.writes_chosen, nullptr);
    if (!needs.parameters) mine.parameters.reset();
    if (!needs.copies) mine.copies.reset();
    if (needs.parameters) reserve(mine.parameters, mine.parameters_fresh, layer.own.bytes);
    if (needs.any_copies())
      reserve(mine.copies, mine.copies_fresh, packed_bytes(layer.own.bytes), trial.value_type(Part::own));
    mine.copies_fresh &= needs.copies;
    if (trial.updates_in(task) && layer.moments)
      reserve(mine.moments, mine.moments_fresh, moment_bytes(trial.setup(), layer.own));
    if (layer.shared.bytes > 0)
      mine.frozen = hold_frozen(device, frozen_key(trial, l, std::nullopt), trial.read_bytes(layer, Part::shared),
                                trial.value_type(Part::shared));
    slot.layers.push_back(std::move(mine));
  }
  for (const auto& use : trial.tied()) {
    const bool used = plan.holds(use.layer), owned = plan.holds(use.owner.layer);
    const auto value = [&] {
      auto hold = std::make_shared<DeviceBytes>(device.ledger, value_bytes(trial, use));
      hold->type = trial.value_type(use.part());
      return hold;
    };
    if (used && !owned && !use.trainable) slot.borrowed.push_back(borrow_frozen(device, trial, use));
    if (used && !owned && use.trainable) {
      const std::uint64_t after = trial.layers()[use.owner.layer].writes_chosen;
      const TaskRef reads{TaskKind::forward, task.shard};
      const LayerOnDevice there = bytes_there(device, trial, reads, use.owner.layer, after, nullptr);
      const DeviceHold layer = needs.any_copies() ? there.copies : there.parameters;
      slot.borrowed.push_back({&use, layer ? layer : value(), after, layer != nullptr, layer == nullptr});
    }
    const bool adds = task.kind == TaskKind::backward && !exchanges_gradients(trial.setup());
    if (owned && !used && use.trainable && adds)
      slot.tied_gradients.emplace_back(&use, std::make_shared<DeviceBytes>(device.ledger, gradient_bytes(use)));
  }
}

}  // namespace hopyard
