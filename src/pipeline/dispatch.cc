// Choosing tasks for devices and bringing their bytes. Everything here runs under the executor's lock and never waits.
#include <algorithm>

#include "base/failure.h"
#include "pipeline/executor.h"

namespace hopyard {

namespace {

constexpr Bytes kMarginShare = 32;       // of a device's memory is kept from tasks side by side: workspace is predicted
constexpr int kDispatchAttempts = 1000;  // more than a model has layers to cut and an experiment trials to fail

Bytes input_bytes(const Boundary* boundary) { return boundary == nullptr ? 0 : charged_bytes(boundary->host.size()); }

bool owner_is_loaded(const TrialRun& trial, const TaskRef& task, const TrialRun::TiedUse& use) {
  const auto& plan = trial.shard(task.shard);
  return use.owner.layer >= plan.begin && use.owner.layer < plan.end;
}

bool use_is_here(const TrialRun& trial, const TaskRef& task, const TrialRun::TiedUse& use) {
  const auto& plan = trial.shard(task.shard);
  return use.layer >= plan.begin && use.layer < plan.end;
}

Bytes workspace_of(const TrialRun& trial, const TaskRef& task) {
  const auto& plan = trial.shard(task.shard);
  if (task.kind == TaskKind::update) return 0;
  return task.kind == TaskKind::backward ? plan.backward_workspace : plan.forward_workspace;
}

}  // namespace

void Executor::set_idle(Active& active, bool idle) {
  if (active.idle == idle) return;
  active.idle = idle;
  const std::uint32_t number = active.trial->setup().number;
  if (idle)
    scheduler_->add({number, active.trial->remaining_s(), active.trial->total_s()});
  else
    scheduler_->remove(number);
}

void Executor::dispatch() {
  if (!stopping_)
    for (auto& device : devices_) {
      // Again when fetching gave the task up: its shard was cut in two, or its trial failed.
      bool given_up = true;
      for (int attempt = 0; given_up && attempt < kDispatchAttempts; ++attempt) {
        choose(*device);
        const bool chosen = device->next != nullptr;
        if (chosen) fetch(*device, *device->next);
        given_up = chosen && device->next == nullptr;
      }
    }
  changed_.notify_all();
}

bool Executor::quiet(const DeviceState& device) const {
  return !device.current && device.storing.empty() && device.given_up_loads == 0;
}

void Executor::choose(DeviceState& device) {
  if (device.next) return;
  if (device.current && device.current->out_of_memory > 0) return;  // it is to be alone
  if (!spec_.double_buffer && (device.current || !device.storing.empty())) return;
  device.refused_for_memory = false;
  // The task after the one that computes stands for choice among the idle trials: else the longest trial would lose its
  // device after each task (docs/decisions/0003-partitioner.md has the figures).
  Active* running = running_on(device);
  const std::uint32_t running_number = running == nullptr ? 0 : running->trial->setup().number;
  const auto task_of = [&](const Active& active) { return *active.trial->peek(&active == running ? 1 : 0); };
  const auto accepts = [&](std::uint32_t number) {
    const Active& active = active_.at(number);
    if (active.home && *active.home != device.index) return false;
    if (!spec_.interleave) {
      if (device.bound ? *device.bound != number : std::any_of(devices_.begin(), devices_.end(), [&](const auto& d) {
            return d->bound == number;
          }))
        return false;
    }
    if (fits(device, *active.trial, task_of(active))) return true;
    device.refused_for_memory = true;
    return false;
  };
  if (running != nullptr) scheduler_->add({running_number, running->trial->remaining_s(), running->trial->total_s()});
  const auto picked = scheduler_->pick(accepts);
  if (running != nullptr) scheduler_->remove(running_number);
  if (!picked) return;
  Active& active = active_.at(*picked);
  set_idle(active, false);
  assign(device, active, task_of(active));
}

Executor::Active* Executor::running_on(DeviceState& device) {
  if (!device.current || device.current->state != SlotState::computing) return nullptr;
  const auto found = active_.find(device.current->trial->setup().number);
  if (found == active_.end() || found->second.error || found->second.trial != device.current->trial) return nullptr;
  return found->second.trial->peek(1) ? &found->second : nullptr;
}

bool Executor::fits(DeviceState& device, const TrialRun& trial, const PlannedTask& planned) {
  if (!device.device->has_own_memory() || planned.task.kind == TaskKind::update) return true;
  auto& mutable_trial = const_cast<TrialRun&>(trial);
  const bool writes_moments = trial.updates_in(planned.task);
  Bytes need = input_bytes(mutable_trial.input_of(planned)) + input_bytes(mutable_trial.gradient_of(planned));
  if (!device.residents.contains(trial.setup().number))
    for (const auto& layer : mutable_trial.layers_of(planned.task.shard)) {
      need += charged_bytes(layer.layout.bytes);
      if (writes_moments && layer.moments)
        need += charged_bytes(layer.layout.bytes * moment_count(trial.setup().train.optimizer));
    }
  for (const auto& use : mutable_trial.tied())
    if (use_is_here(trial, planned.task, use) != owner_is_loaded(trial, planned.task, use))
      need += charged_bytes(
          static_cast<Bytes>(
              trial.setup().source->description().layers[use.layer].parameters[use.parameter].elements()) *
          sizeof(float));
  const Bytes computing = device.current ? device.current->workspace : 0;
  const Bytes workspace = std::max(workspace_of(trial, planned.task), computing);
  const Bytes used = *device.ledger;
  // Alone on the device, whether it fits is found by trying: the figures are predictions.
  const bool alone = quiet(device) && (device.residents.empty() || device.residents.contains(trial.setup().number));
  if (alone) return true;
  const Bytes limit = device.device->account().limit();
  return used + need + workspace <= limit - limit / kMarginShare;
}

void Executor::assign(DeviceState& device, Active& active, const PlannedTask& planned) {
  auto slot = std::make_shared<Slot>();
  TrialRun& trial = *active.trial;
  const TaskRef& task = planned.task;
  slot->trial = active.trial;
  slot->task = planned;
  slot->device = device.index;
  slot->writes = task.kind == TaskKind::backward || task.kind == TaskKind::update;
  slot->workspace = workspace_of(trial, task);
  slot->first_layer = trial.shard(task.shard).begin;
  slot->end_layer = trial.shard(task.shard).end;
  slot->written = trial.blobs_written_by(task);
  slot->pins = trial.blobs_of(task);
  slot->activation.boundary = trial.input_of(planned);
  slot->gradient.boundary = trial.gradient_of(planned);
  if (slot->writes)
    for (auto& layer : slot->trial_layers())
      if (layer.trainable) ++layer.writers;
  if (device.device->has_own_memory() && task.kind != TaskKind::update) take_over(device, *slot);
  ++active.slots;
  if (!spec_.interleave) device.bound = trial.setup().number;
  if (trial.one_shard() && device.device->has_own_memory()) active.home = device.index;
  device.next = std::move(slot);
}

void Executor::take_over(DeviceState& device, Slot& slot) {
  TrialRun& trial = *slot.trial;
  const TaskRef& task = slot.task.task;
  const auto& plan = trial.shard(task.shard);
  const bool moments = trial.updates_in(task);
  slot.layers.resize(plan.end - plan.begin);
  // Bytes of this trial that are on the device already: kept by a resident trial, or, for a task that only reads, left
  // by the task before, whose write-back may still be under way.
  std::vector<const Slot*> sources;
  const auto resident = device.residents.find(trial.setup().number);
  if (resident != device.residents.end()) sources.push_back(resident->second.slot.get());
  const auto consider = [&](const std::shared_ptr<Slot>& other) {
    if (other && other->trial == slot.trial && !other->layers.empty() && other->state_loaded &&
        (!slot.writes || trial.one_shard()))
      sources.push_back(other.get());
  };
  if (resident == device.residents.end()) {
    consider(device.current);
    for (const auto& storing : device.storing)
      if (!slot.writes) consider(storing);
  }
  for (std::uint32_t i = 0; i < slot.layers.size(); ++i) {
    auto& mine = slot.layers[i];
    const auto& layer = trial.layers_of(task.shard)[i];
    const std::uint32_t index = plan.begin + i;
    for (const Slot* source : sources) {
      if (index < source->first_layer || index >= source->end_layer) continue;
      const auto& from = source->layers[index - source->first_layer];
      if (!mine.parameters) mine.parameters = from.parameters;
      if (!mine.moments && moments && layer.moments) mine.moments = from.moments;
    }
    const auto reserve = [&](DeviceHold& hold, bool& fresh, Bytes bytes) {
      if (hold) return;
      hold = std::make_shared<DeviceBytes>(device.ledger, charged_bytes(bytes));
      fresh = true;
    };
    reserve(mine.parameters, mine.parameters_fresh, layer.layout.bytes);
    if (moments && layer.moments)
      reserve(mine.moments, mine.moments_fresh,
              layer.layout.bytes * static_cast<Bytes>(moment_count(trial.setup().train.optimizer)));
  }
  for (const auto& use : trial.tied()) {
    const auto& parameter = trial.layers()[use.layer].module->description().parameters[use.parameter];
    const Bytes bytes = charged_bytes(static_cast<Bytes>(parameter.elements()) * sizeof(float));
    const bool owned = owner_is_loaded(trial, task, use), used = use_is_here(trial, task, use);
    if (used && !owned) slot.borrowed.emplace_back(&use, std::make_shared<DeviceBytes>(device.ledger, bytes));
    if (owned && !used && use.trainable && task.kind == TaskKind::backward)
      slot.tied_gradients.emplace_back(&use, std::make_shared<DeviceBytes>(device.ledger, bytes));
  }
}

void Executor::fetch(DeviceState& device, Slot& raw) {
  const auto slot = device.next;
  require(slot.get() == &raw, "only the next slot is fetched");
  TrialRun& trial = *slot->trial;
  const bool own = device.device->has_own_memory() && slot->task.task.kind != TaskKind::update;
  if (!slot->pinned) {
    try {
      slot->pinned = trial.cache().acquire(slot->pins);
      if (slot->pinned) prefetch(*slot, spec_.prefetch_tasks);
    } catch (...) {
      Active& active = active_.at(trial.setup().number);
      give_up(device, std::exchange(device.next, nullptr));
      fail_trial(active, std::current_exception());
      return;
    }
    if (!slot->pinned) return;
  }
  if (!slot->state_requested) {
    // Bytes that another task is about to write back must have arrived in the host tier first. In host memory itself
    // the order of a trial's tasks is enough.
    const bool in_host = !device.device->has_own_memory();
    for (auto& layer : trial.layers_of(slot->task.task.shard))
      if (!in_host && layer.writers > (slot->writes && layer.trainable ? 1 : 0)) {
        const auto i = static_cast<std::size_t>(&layer - trial.layers_of(slot->task.task.shard).data());
        const bool reads_host = !own || slot->layers[i].parameters_fresh || slot->layers[i].moments_fresh;
        if (reads_host) return;
      }
    for (const auto& [use, hold] : slot->borrowed)
      if (trial.layers()[use->owner.layer].writers > 0) return;
    if (own && !allocate(device, *slot)) {
      if (quiet(device)) cannot_load(device, slot);
      return;
    }
    slot->go(SlotState::loading);
    slot->state_requested = true;
    if (own)
      request_state(device, slot);
    else
      slot->state_loaded = true;
  }
  request_input(device, slot, slot->activation, "activation");
  if (!slot->cancelled) request_input(device, slot, slot->gradient, "gradient");
  if (!slot->cancelled) request_tied_gradients(device, slot);
  if (slot->state == SlotState::loading && slot->ready()) slot->go(SlotState::ready);
}

bool Executor::allocate(DeviceState& device, Slot& slot) {
  const AccountScope charged(&device.device->account());
  const auto make = [](const DeviceHold& hold) {
    if (hold && !hold->tensor.defined())
      hold->tensor = at::empty({static_cast<std::int64_t>(hold->bytes() / sizeof(float))}, at::kFloat);
  };
  try {
    for (auto& layer : slot.layers) {
      if (layer.parameters_fresh) make(layer.parameters);
      if (layer.moments_fresh) make(layer.moments);
    }
    for (auto& [use, hold] : slot.borrowed) make(hold);
    for (auto& [use, hold] : slot.tied_gradients) make(hold);
  } catch (const DeviceOutOfMemory&) {
    return false;  // the running task takes more than was predicted: what was allocated stays, the rest is tried again
  }
  return true;
}

void Executor::request_state(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  TrialRun& trial = *slot->trial;
  std::vector<CopyRequest> copies;
  const auto layers = trial.layers_of(slot->task.task.shard);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& mine = slot->layers[i];
    if (mine.parameters_fresh) {
      const std::byte* from =
          layers[i].frozen ? layers[i].frozen->bytes.data() : trial.cache().bytes(*layers[i].parameters).data();
      copies.push_back({mine.parameters->tensor.data_ptr(), from, layers[i].layout.bytes});
    }
    if (mine.moments_fresh) {
      const auto from = trial.cache().bytes(*layers[i].moments);
      copies.push_back({mine.moments->tensor.data_ptr(), from.data(), from.size()});
    }
  }
  for (const auto& [use, hold] : slot->borrowed) {
    const auto& owner = trial.layers()[use->owner.layer];
    const auto& place = owner.layout.places[use->owner.parameter];
    const std::byte* from = owner.frozen ? owner.frozen->bytes.data() : trial.cache().bytes(*owner.parameters).data();
    copies.push_back({hold->tensor.data_ptr(), from + place.offset, place.bytes});
  }
  if (copies.empty()) {
    slot->state_loaded = true;
    return;
  }
  load(device, slot, std::move(copies), slot->label(), [raw = slot.get()] { raw->state_loaded = true; });
}

void Executor::load(DeviceState& device, const std::shared_ptr<Slot>& slot, std::vector<CopyRequest> copies,
                    std::string label, std::function<void()> arrived) {
  ++copies_in_flight_;
  ++slot->loads_in_flight;
  device.device->load(std::move(copies), std::move(label), [this, &device, slot, arrived = std::move(arrived)] {
    const std::lock_guard lock(mutex_);
    --copies_in_flight_;
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

void Executor::request_input(DeviceState& device, const std::shared_ptr<Slot>& slot, SlotInput& input,
                             const char* what) {
  if (input.boundary == nullptr || input.there || input.requested) return;
  Boundary& boundary = *input.boundary;
  if (!device.device->has_own_memory()) {
    input.there = boundary.in_host == Boundary::InHost::there;
    return;
  }
  if (!boundary.kept.empty() && boundary.device == device.index) {
    input.requested = input.there = true;
    input.loaded = boundary.kept;
    return;
  }
  if (!boundary.kept.empty() && boundary.in_host == Boundary::InHost::absent)
    store_boundary(*devices_[boundary.device], slot->trial, boundary, [] {});
  if (boundary.in_host != Boundary::InHost::there) return;
  const AccountScope charged(&device.device->account());
  std::vector<CopyRequest> copies;
  try {
    for (std::size_t m = 0; m < boundary.shapes.size(); ++m) {
      at::Tensor tensor = at::empty(boundary.shapes[m], at::kFloat);
      auto hold = std::make_shared<DeviceBytes>(device.ledger, charged_bytes(tensor.nbytes()));
      copies.push_back({tensor.data_ptr(), boundary.host.data() + boundary.offsets[m], tensor.nbytes()});
      hold->tensor = std::move(tensor);
      input.loaded.push_back(std::move(hold));
    }
  } catch (const DeviceOutOfMemory&) {
    input.loaded.clear();
    if (quiet(device)) cannot_load(device, slot);
    return;
  }
  input.requested = true;
  load(device, slot, std::move(copies), slot->label() + " " + what, [&input] { input.there = true; });
}

void Executor::request_tied_gradients(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  if (slot->tied_gradients.empty() || slot->tied_requested) return;
  std::vector<CopyRequest> copies;
  for (const auto& [use, hold] : slot->tied_gradients) {
    if (!use->left) return;  // the later layer's backward is still under way
    copies.push_back({hold->tensor.data_ptr(), use->gradient.data(), use->gradient.size()});
  }
  slot->tied_requested = true;
  load(device, slot, std::move(copies), slot->label() + " tied gradients",
       [raw = slot.get()] { raw->tied_there = true; });
}

void Executor::cannot_load(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  device.next = nullptr;
  const Bytes needed = *device.ledger;
  cut_or_fail(device, slot, needed);
}

void Executor::prefetch(const Slot& slot, std::uint32_t ahead) {
  TrialRun& trial = *slot.trial;
  if (trial.cache().window() >= trial_state_bytes(trial.setup())) return;
  std::vector<std::uint32_t> wanted;
  for (std::uint32_t i = 1; i <= ahead + 1; ++i)
    if (const auto task = trial.peek(i))
      for (const auto blob : trial.blobs_of(task->task))
        if (std::find(wanted.begin(), wanted.end(), blob) == wanted.end()) wanted.push_back(blob);
  trial.cache().prefetch(wanted);
}

void Executor::give_up(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  TrialRun& trial = *slot->trial;
  slot->go(SlotState::empty);
  slot->cancelled = true;
  if (slot->writes)
    for (auto& layer : slot->trial_layers())
      if (layer.trainable) --layer.writers;
  const auto active = active_.find(trial.setup().number);
  if (active != active_.end() && active->second.trial == slot->trial) {
    --active->second.slots;
    if (!device.residents.contains(active->first)) active->second.home.reset();
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
