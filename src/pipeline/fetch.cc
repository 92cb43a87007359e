// Bringing the bytes of chosen tasks. Everything here runs under the executor's lock and never waits.
#include <algorithm>

#include "base/failure.h"
#include "pipeline/executor.h"
#include "pipeline/shard_compute.h"

namespace hopyard {

bool Executor::fetch(DeviceState& device) {
  // By trial: what one task has not got yet, none behind it may take first.
  std::vector<const TrialRun*> waiting;
  for (const auto& [number, active] : active_)
    if (waits_for_blobs(active)) waiting.push_back(active.trial.get());
  for (std::size_t i = 0; i < device.ahead.size(); ++i) {
    const auto slot = device.ahead[i];
    if (slot->state == SlotState::ready) continue;
    TrialRun* trial = slot->trial.get();
    if (!slot->pinned && std::find(waiting.begin(), waiting.end(), trial) != waiting.end()) continue;
    if (!slot->pinned) {
      if (!pin(slot)) return true;
      if (slot->pinned) prefetch(device, *slot);
    }
    if (!slot->pinned) {
      waiting.push_back(trial);
      continue;
    }
    if (!slot->state_requested && !may_load(device, *slot)) continue;
    const bool state_requested = slot->state_requested || begin_load(device, slot);
    if (!state_requested || !request_inputs(device, slot)) {
      if (i > 0 || !quiet(device)) continue;
      make_way(device, slot);
      return true;
    }
    if (slot->state == SlotState::loading && slot->ready()) slot->go(SlotState::ready);
  }
  return false;
}

bool Executor::pin(const std::shared_ptr<Slot>& slot) {
  try {
    slot->pinned = slot->trial->copies_made(slot->pins) && slot->trial->cache().acquire(slot->pins);
    return true;
  } catch (...) {
    fail_trial(active_.at(slot->trial->setup().number), std::current_exception());
    return false;
  }
}

bool Executor::may_load(const DeviceState& device, const Slot& slot) const {
  // In host memory itself the order of a trial's tasks is enough.
  if (!device.device->has_own_memory()) return true;
  if (slot.early && !has_room(device, slot, device.current ? device.current->workspace : 0)) return false;
  return reads_what_is_home(slot) &&
         std::all_of(slot.borrowed.begin(), slot.borrowed.end(), [&](const BorrowedValue& borrowed) {
           return !borrowed.fresh || slot.trial->layers()[borrowed.use->owner.layer].writes_home >= borrowed.after;
         });
}

bool Executor::reads_what_is_home(const Slot& slot) {
  const auto layers = slot.trial_layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bool reads_host = slot.layers.empty() || slot.layers[i].reads_host();
    if (reads_host && layers[i].writes_home < slot.after[i]) return false;
  }
  return true;
}

bool Executor::may_compute(const DeviceState& device, const Slot& slot) const {
  return slot.state == SlotState::ready && (!slot.early || has_room(device, slot, slot.workspace));
}

bool Executor::begin_load(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  const bool own = device.device->has_own_memory();
  if (slot->early) drop_kept(device, device.current ? device.current->workspace : 0);
  if (own) take_what_came(device, *slot);
  if (own && !allocate(device, *slot)) return false;
  slot->go(SlotState::loading);
  slot->state_requested = true;
  if (own)
    request_state(device, slot);
  else
    slot->state_loaded = true;
  return true;
}

void Executor::take_what_came(DeviceState& device, Slot& slot) {
  // Chosen long ago, perhaps: the task before may since have written its bytes home, or another have loaded them.
  for (std::size_t i = 0; i < slot.layers.size(); ++i) {
    auto& mine = slot.layers[i];
    if (!mine.reads_host()) continue;
    const auto layer = slot.first_layer + static_cast<std::uint32_t>(i);
    const LayerOnDevice there = bytes_there(device, *slot.trial, slot.task.task, layer, slot.after[i], &slot);
    const auto take = [](DeviceHold& hold, bool& fresh, const DeviceHold& from) {
      if (!fresh || !from || hold.use_count() > 1) return;  // else a task behind it counts on these being loaded
      hold = from;
      fresh = false;
    };
    take(mine.parameters, mine.parameters_fresh, there.parameters);
    take(mine.copies, mine.copies_fresh, there.copies);
    take(mine.moments, mine.moments_fresh, there.moments);
  }
}

bool Executor::request_inputs(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  find_kept(device, *slot);
  if (slot->kept) slot->activation.requested = slot->activation.there = true;
  if (!request_input(device, slot, slot->activation, "activation")) return false;
  if (!request_input(device, slot, slot->gradient, "gradient")) return false;
  request_tied_gradients(device, slot);
  return true;
}

bool Executor::allocate(DeviceState& device, Slot& slot) {
  const auto make = [&](const DeviceHold& hold) {
    if (hold && !hold->tensor.defined())
      hold->tensor = device.device->allocate({static_cast<std::int64_t>(hold->bytes() / c10::elementSize(hold->type))},
                                             hold->type);
  };
  try {
    for (auto& layer : slot.layers) {
      if (layer.parameters_fresh) make(layer.parameters);
      if (layer.copies_fresh || layer.parameters) make(layer.copies);
      if (layer.moments_fresh) make(layer.moments);
      make(layer.frozen);
    }
    for (auto& borrowed : slot.borrowed)
      if (borrowed.fresh || !borrowed.use->trainable) make(borrowed.value);
    for (auto& [use, hold] : slot.tied_gradients) make(hold);
  } catch (const DeviceOutOfMemory&) {
    // The running task takes more than was predicted: what was allocated stays, the rest is tried again.
    return give_up_kept(device) && allocate(device, slot);
  }
  return true;
}

void Executor::request_state(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  TrialRun& trial = *slot->trial;
  std::vector<CopyRequest> transfers;
  const auto layers = trial.layers_of(slot->task.task.shard);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& mine = slot->layers[i];
    if (mine.parameters_fresh)
      transfers.push_back({mine.parameters->tensor.data_ptr(), trial.own_in_host(layers[i]), layers[i].own.bytes});
    if (mine.copies_fresh) {
      const auto from = trial.own_copy_in_host(layers[i]);
      transfers.push_back({mine.copies->tensor.data_ptr(), from.data(), from.size()});
    }
    if (mine.moments_fresh) {
      const auto from = trial.cache().bytes(*layers[i].moments);
      transfers.push_back({mine.moments->tensor.data_ptr(), from.data(), from.size()});
    }
  }
  for (const auto& borrowed : slot->borrowed) {
    if (!borrowed.fresh) continue;
    const auto& owner = trial.layers()[borrowed.use->owner.layer];
    const auto& place = owner.own.places[borrowed.use->owner.parameter];
    const std::byte* const part = trial.in_host(owner, Part::own);
    transfers.push_back({borrowed.value->tensor.data_ptr(), part + trial.value_bytes(Part::own, place.offset),
                         trial.value_bytes(Part::own, place.bytes)});
  }
  bring_frozen(*slot, transfers);
  if (transfers.empty()) {
    slot->state_loaded = true;
    return;
  }
  load(device, slot, std::move(transfers), slot->label(), [raw = slot.get()] {
    raw->state_loaded = true;
    for (DeviceBytes* frozen : raw->brings) frozen->there = true;
  });
}

void Executor::load(DeviceState& device, const std::shared_ptr<Slot>& slot, std::vector<CopyRequest> transfers,
                    std::string label, std::function<void()> arrived) {
  ++transfers_in_flight_;
  ++slot->loads_in_flight;
  device.device->load(std::move(transfers), std::move(label), [this, &device, slot, arrived = std::move(arrived)] {
    const std::lock_guard lock(mutex_);
    --transfers_in_flight_;
    fail_all_if_failed(device);
    --slot->loads_in_flight;
    arrived();
    if (slot->cancelled && slot->loads_in_flight == 0) {
      --device.given_up_loads;
      unpin(*slot, false);
      slot->drop_bytes();
    }
    dispatch();
  });
}

bool Executor::request_input(DeviceState& device, const std::shared_ptr<Slot>& slot, SlotInput& input,
                             const char* what) {
  if (!input.needed() || input.there || input.requested) return true;
  if (input.features != nullptr) return request_features(device, slot, input);
  Boundary& boundary = *input.boundary;
  if (boundary.turn != input.turn) return true;  // what is there is older
  if (!device.device->has_own_memory()) {
    input.there = boundary.in_host == Boundary::InHost::there;
    return true;
  }
  if (!boundary.kept.empty() && boundary.device == device.index) {
    input.requested = input.there = true;
    input.loaded = boundary.kept;
    return true;
  }
  const DeviceState& holder = *devices_[boundary.device];
  std::vector<DeviceHold> there;  // on another device that this one reads from: nobody waits for the host
  if (!boundary.kept.empty()) {
    if (device.device->reads_from(*holder.device)) there = boundary.kept;
    send_home(slot->trial, boundary);
  }
  if (there.empty() && boundary.in_host != Boundary::InHost::there) return true;
  std::vector<CopyRequest> transfers;
  try {
    for (std::size_t m = 0; m < boundary.shapes.size(); ++m) {
      at::Tensor tensor = device.device->allocate(boundary.shapes[m], boundary.type);
      auto hold = std::make_shared<DeviceBytes>(device.ledger, charged_bytes(tensor.nbytes()));
      const void* const from = there.empty() ? boundary.host.data() + boundary.offsets[m] : there[m]->tensor.data_ptr();
      transfers.push_back({tensor.data_ptr(), from, tensor.nbytes(), !there.empty()});
      hold->tensor = std::move(tensor);
      input.loaded.push_back(std::move(hold));
    }
  } catch (const DeviceOutOfMemory&) {
    input.loaded.clear();
    return give_up_kept(device) && request_input(device, slot, input, what);
  }
  input.requested = true;
  std::string label = slot->label() + " " + what;
  if (!there.empty()) label += " from " + holder.device->name();
  load(device, slot, std::move(transfers), std::move(label), [&input, there = std::move(there)]() mutable {
    input.there = true;
    there.clear();  // before anybody looks for room
  });
  return true;
}

bool Executor::request_features(DeviceState& device, const std::shared_ptr<Slot>& slot, SlotInput& input) {
  if (!device.device->has_own_memory()) {
    input.there = true;  // gathered by the compute thread
    return true;
  }
  const TrialRun& trial = *slot->trial;
  GatheredRows gathered;
  try {
    gathered =
        gather_rows(*input.features, trial.rows_of(slot->task), slot->first_layer, trial.setup().train.micro_batch_size,
                    compute_type(trial.setup().train.precision), *device.device);
  } catch (const DeviceOutOfMemory&) {
    return give_up_kept(device) && request_features(device, slot, input);
  }
  for (auto& tensor : gathered.tensors) {
    auto hold = std::make_shared<DeviceBytes>(device.ledger, charged_bytes(tensor.nbytes()));
    hold->tensor = std::move(tensor);
    input.loaded.push_back(std::move(hold));
  }
  input.requested = true;
  load(device, slot, std::move(gathered.transfers), slot->label() + " features", [&input] { input.there = true; });
  return true;
}

void Executor::request_tied_gradients(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  if (slot->tied_gradients.empty() || slot->tied_requested) return;
  // Before the trial's task before this one computes, what the later layer left may be an older step's.
  const TrialRun& trial = *slot->trial;
  if (trial.peek(0) != slot->task && trial.peek(1) != slot->task) return;
  std::vector<CopyRequest> transfers;
  for (const auto& [use, hold] : slot->tied_gradients) {
    if (!use->left) return;  // the later layer's backward is still under way
    transfers.push_back({hold->tensor.data_ptr(), use->gradient.data(), use->gradient.size()});
  }
  slot->tied_requested = true;
  load(device, slot, std::move(transfers), slot->label() + " tied gradients",
       [raw = slot.get()] { raw->tied_there = true; });
}

void Executor::make_way(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  if (device.ahead.size() > 1) {
    device.shallow = true;
    while (device.ahead.size() > 1) give_back_last(device);
    return;
  }
  device.ahead.clear();
  cut_or_fail(device, slot, *device.ledger);
}

void Executor::give_back_last(DeviceState& device) {
  const auto slot = device.ahead.back();
  device.ahead.pop_back();
  give_up(device, slot);
  if (tasks_held(device, *slot->trial) > 0) return;
  if (const auto active = active_.find(slot->trial->setup().number); active != active_.end())
    set_idle(active->second, true);
  for (SlotInput* input : {&slot->activation, &slot->gradient})
    if (input->boundary != nullptr && !input->boundary->kept.empty()) send_home(slot->trial, *input->boundary);
}

void Executor::prefetch(const DeviceState& device, const Slot& slot) {
  TrialRun& trial = *slot.trial;
  if (trial.cache().window() >= trial_state_bytes(trial.setup())) return;
  std::uint32_t place = device.current && device.current->trial == slot.trial ? 1 : 0;  // after the present task
  for (const auto& before : device.ahead) {
    if (before.get() == &slot) break;
    place += before->trial == slot.trial ? 1 : 0;
  }
  std::vector<std::uint32_t> wanted;
  for (std::uint32_t i = 1; i <= spec_.prefetch_tasks; ++i)
    if (const auto task = trial.peek(place + i))
      for (const auto blob : trial.blobs_of(task->task))
        if (std::find(wanted.begin(), wanted.end(), blob) == wanted.end()) wanted.push_back(blob);
  trial.cache().prefetch(wanted);
}

void Executor::give_up(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  TrialRun& trial = *slot->trial;
  if (slot->output != nullptr && slot->state != SlotState::computing)  // else its turn has begun; it will have another
    --slot->output->promised;
  slot->go(SlotState::empty);
  slot->cancelled = true;
  if (slot->writes)
    for (auto& layer : slot->trial_layers())
      if (layer.trainable) --layer.writes_chosen;
  const auto active = active_.find(trial.setup().number);
  if (active != active_.end() && active->second.trial == slot->trial) {
    --active->second.slots;
    if (!device.residents.contains(active->first) && tasks_held(device, trial) == 0) active->second.home.reset();
  }
  if (slot->loads_in_flight > 0) {
    ++device.given_up_loads;  // the engine still writes there; it lets go when it is done
    return;
  }
  unpin(*slot, false);
  slot->drop_bytes();
}

void Executor::unpin(Slot& slot, bool dirty) {
  if (!slot.pinned) return;
  slot.pinned = false;
  std::vector<std::uint32_t> changed, unchanged;
  for (const auto blob : slot.pins) {
    const bool written = dirty && std::find(slot.written.begin(), slot.written.end(), blob) != slot.written.end();
    (written ? changed : unchanged).push_back(blob);
  }
  if (!changed.empty()) slot.trial->cache().release(changed, true);
  if (!unchanged.empty()) slot.trial->cache().release(unchanged, false);
}

}  // namespace hopyard
