// Frozen bytes on devices: found by what they are, loaded once for all tasks that need them, and a reason to choose
// tasks that do. Everything here runs under the executor's lock.
#include "pipeline/executor.h"

namespace hopyard {

Executor::FrozenKey Executor::frozen_key(const TrialRun& trial, std::uint32_t layer,
                                         std::optional<std::uint32_t> parameter) const {
  const auto& state = trial.layers()[layer];
  const void* const own = &state;  // in the trial's window: nobody else's
  return {state.frozen ? state.frozen.get() : own, parameter};
}

DeviceHold Executor::find_frozen(const DeviceState& device, const FrozenKey& key) const {
  const auto found = device.frozen.find(key);
  return found == device.frozen.end() ? nullptr : found->second.lock();
}

DeviceHold Executor::hold_frozen(DeviceState& device, const FrozenKey& key, Bytes bytes, at::ScalarType type) {
  if (auto held = find_frozen(device, key)) return held;
  std::erase_if(device.frozen, [](const auto& known) { return known.second.expired(); });
  auto hold = std::make_shared<DeviceBytes>(device.ledger, charged_bytes(bytes));
  hold->type = type;
  device.frozen[key] = hold;
  return hold;
}

BorrowedValue Executor::borrow_frozen(DeviceState& device, const TrialRun& trial, const TrialRun::TiedUse& use) {
  if (auto part = find_frozen(device, frozen_key(trial, use.owner.layer, std::nullopt)))
    return {&use, std::move(part), 0, true, false};
  auto value = hold_frozen(device, frozen_key(trial, use.owner.layer, use.owner.parameter), value_bytes(trial, use),
                           trial.value_type(Part::shared));
  return {&use, std::move(value), 0, false, false};
}

Bytes Executor::borrowed_bytes_missing(const DeviceState& device, const TrialRun& trial, const ShardPlan& plan) const {
  Bytes missing = 0;
  for (const auto& use : trial.tied()) {
    if (plan.holds(use.layer) == plan.holds(use.owner.layer)) continue;
    const auto is_there = [&](std::optional<std::uint32_t> parameter) {
      return find_frozen(device, frozen_key(trial, use.owner.layer, parameter)) != nullptr;
    };
    const bool loads = use.trainable || (plan.holds(use.layer) && !is_there({}) && !is_there(use.owner.parameter));
    if (plan.holds(use.layer) ? loads : use.trainable)
      missing += plan.holds(use.layer) ? value_bytes(trial, use) : gradient_bytes(use);
  }
  return missing;
}

void Executor::bring_frozen(Slot& slot, std::vector<CopyRequest>& transfers) {
  TrialRun& trial = *slot.trial;
  const auto bring = [&](DeviceBytes& held, const std::byte* from, Bytes bytes) {
    if (held.requested) return;
    held.requested = true;
    slot.brings.push_back(&held);
    transfers.push_back({held.tensor.data_ptr(), from, bytes});
  };
  const auto layers = slot.trial_layers();
  for (std::size_t i = 0; i < layers.size(); ++i)
    if (slot.layers[i].frozen)
      bring(*slot.layers[i].frozen, trial.in_host(layers[i], Part::shared), trial.read_bytes(layers[i], Part::shared));
  for (const auto& borrowed : slot.borrowed) {
    if (borrowed.use->trainable) continue;
    const auto& owner = trial.layers()[borrowed.use->owner.layer];
    const auto& place = owner.shared.places[borrowed.use->owner.parameter];
    const std::byte* const part = trial.in_host(owner, Part::shared);
    if (borrowed.in_layer)
      bring(*borrowed.value, part, trial.read_bytes(owner, Part::shared));
    else
      bring(*borrowed.value, part + trial.value_bytes(Part::shared, place.offset),
            trial.value_bytes(Part::shared, place.bytes));
  }
}

Standing Executor::standing_of(const DeviceState& device, const TrialRun& trial) const {
  const std::uint32_t tasks = tasks_held(device, trial);
  Standing standing{trial.remaining_s(tasks), trial.setup().plan.compute_s, trial.step_left(tasks)};
  const TaskRef task = trial.peek(tasks)->task;
  const ShardPlan& plan = trial.shard(task.shard);
  Bytes frozen = 0, there = 0;
  for (std::uint32_t l = plan.begin; l < plan.end; ++l) {
    const auto& layer = trial.layers()[l];
    if (layer.frozen.use_count() < 2) continue;  // nobody else has it
    const Bytes bytes = trial.read_bytes(layer, Part::shared);
    frozen += bytes;
    if (find_frozen(device, frozen_key(trial, l, std::nullopt))) there += bytes;
  }
  const double compute_s = task.kind == TaskKind::backward ? plan.backward_s : plan.forward_s;
  standing.shares = static_cast<double>(frozen) > compute_s * device.device->spec().link_bytes_per_s;
  standing.loaded = standing.shares && 2 * there > frozen;
  return standing;
}

std::optional<std::uint32_t> Executor::pick(const DeviceState& device,
                                            const std::function<bool(std::uint32_t trial)>& accepts) {
  if (scheduler_kind_ != SchedulerKind::lrtf || !device.device->has_own_memory()) return scheduler_->pick(accepts);
  return pick_sharing(*scheduler_, accepts,
                      [&](std::uint32_t number) { return standing_of(device, *active_.at(number).trial); });
}

}  // namespace hopyard
