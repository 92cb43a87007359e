// What follows a computed task: results, write-back, and recovery when it ran out of memory. Runs under the lock.

#include "base/clock.h"
#include "base/failure.h"
#include "pipeline/outcome.h"

namespace hopyard {

void Executor::take_result(Active& active, const Slot& slot, const Outcome& outcome) {
  VisitResult& result = active.trial->result();
  if (exchanges_gradients(active.trial->setup()))
    active.trial->note_losses(outcome.losses);
  else
    take_losses(active, active.trial->step_of(slot.task), outcome.losses);
  if (!outcome.judged) return;
  const std::uint32_t partition = active.trial->judged_partition_of(slot.task);
  if (result.judged.empty() || result.judged.back().partition != partition) result.judged.push_back({partition, {}});
  result.judged.back().judged.add(*outcome.judged);
}

void Executor::take_losses(Active& active, std::uint64_t step, std::span<const MicroBatchLoss> losses) {
  const MicroBatchLoss loss = total(losses);
  if (loss.items == 0) return;
  VisitResult& result = active.trial->result();
  result.loss_sum += loss.sum;
  result.loss_items += static_cast<double>(loss.items);
  active.loss = loss.sum / static_cast<double>(loss.items);
  result.curve.push_back({step + 1, active.loss});
}

void Executor::complete(DeviceState& device, const std::shared_ptr<Slot>& slot, Outcome outcome) {
  Active& active = active_.at(slot->trial->setup().number);
  TrialRun& trial = *slot->trial;
  take_result(active, *slot, outcome);
  ++slot->stores_left;  // this function's own hold, so that nothing settles before it is through
  if (slot->keeps) device.kept.push_back(std::move(slot->keeps));
  if (slot->kept) ++device.report.spared_forwards;
  slot->kept.reset();
  note_record(device, *slot);
  save_input_for_recompute(device, slot);
  for (SlotInput* input : {&slot->activation, &slot->gradient}) {
    if (input->boundary != nullptr) input->boundary->kept.clear();
    input->loaded.clear();
  }
  for (const auto& [use, hold] : slot->tied_gradients)
    for (auto& known : trial.tied())
      if (&known == use) known.left = false;
  Boundary* output = slot->output;
  if (output != nullptr && !device.device->has_own_memory()) output->in_host = Boundary::InHost::there;
  const bool later = output != nullptr && trial.output_needed_later(slot->task);
  trial.advance();
  begin_updates(active);
  slot->go(SlotState::storing);
  device.current = nullptr;
  device.storing.push_back(slot);
  const bool resident = keep_resident(device, slot);
  if (tasks_held(device, trial) == 0 && !trial.visit_done() && !active.error) set_idle(active, true);
  if (device.ahead.empty()) choose(device);
  if (output != nullptr && device.device->has_own_memory()) {
    const bool kept = tasks_held(device, trial) > 0;  // by the task that follows
    output->describe(outcome.outputs);
    output->device = device.index;
    for (auto& tensor : outcome.outputs) {
      auto hold = std::make_shared<DeviceBytes>(device.ledger, charged_bytes(tensor.nbytes()));
      hold->tensor = std::move(tensor);
      output->kept.push_back(std::move(hold));
    }
    output->let_go = !kept;
    if (!kept || later) {
      ++slot->stores_left;
      store_boundary(device, slot->trial, *output, [this, &device, slot] { settle(device, slot); });
    }
  }
  store_features(device, slot, outcome);
  if (!resident) store_state(device, slot, outcome);
  settle(device, slot);
}

void Executor::store_features(DeviceState& device, const std::shared_ptr<Slot>& slot, Outcome& outcome) {
  Features* features = slot->trial->features_from(slot->task);
  if (features == nullptr || !device.device->has_own_memory()) return;
  auto rows = slot->trial->rows_of(slot->task);
  auto transfers = scatter_rows(*features, rows, outcome.outputs);
  auto row_shape = row_shape_of(outcome.outputs);
  std::vector<DeviceHold> held;
  for (auto& tensor : outcome.outputs) {
    held.push_back(std::make_shared<DeviceBytes>(device.ledger, charged_bytes(tensor.nbytes())));
    held.back()->tensor = std::move(tensor);
  }
  ++slot->stores_left;
  store(device, std::move(transfers), slot->label() + " features",
        [this, &device, slot, features, rows = std::move(rows), row_shape = std::move(row_shape),
         held = std::move(held)] {
          features->note(rows, slot->end_layer, row_shape);
          settle(device, slot);
        });
}

void Executor::save_input_for_recompute(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  // Only after a re-cut: the boundary was the last shard's input, used once, and its shard is now one that recomputes.
  Boundary* input = slot->activation.boundary;
  if (slot->task.task.kind != TaskKind::forward || input == nullptr || input->kept.empty()) return;
  if (input->in_host != Boundary::InHost::absent || !slot->trial->recomputes(slot->task.task.shard)) return;
  ++slot->stores_left;
  store_boundary(device, slot->trial, *input, [this, &device, slot] { settle(device, slot); });
}

bool Executor::keep_resident(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  TrialRun& trial = *slot->trial;
  if (!trial.resident() || !device.device->has_own_memory()) return false;
  const std::uint32_t number = trial.setup().number;
  const auto known = device.residents.find(number);
  if (!trial.visit_done()) {
    if (known == device.residents.end()) {
      auto base = std::make_shared<Slot>(*slot);  // its bytes and pins outlive the task
      slot->pinned = false;
      active_.at(number).home = device.index;
      device.residents[number] = {std::move(base), slot->writes};
    } else {
      known->second.dirty |= slot->writes;
    }
    return true;
  }
  active_.at(number).home.reset();
  if (known == device.residents.end()) return false;  // a visit of one task: stored like any other
  Resident resident = std::move(known->second);
  device.residents.erase(known);
  if (!resident.dirty) {
    unpin(*resident.slot, false);
    return true;
  }
  ++slot->stores_left;
  store(device, write_back(*resident.slot), trial.setup().id + "/write back",
        [this, &device, slot, base = resident.slot] {
          unpin(*base, true);
          settle(device, slot);
        });
  return true;
}

std::vector<CopyRequest> Executor::moments_back(const Slot& holder) const {
  std::vector<CopyRequest> transfers;
  const auto layers = holder.trial_layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].own.bytes == 0 || !layers[i].moments) continue;
    const auto to = holder.trial->cache().bytes(*layers[i].moments);
    transfers.push_back({to.data(), holder.layers[i].moments->tensor.data_ptr(), to.size()});
  }
  return transfers;
}

std::vector<CopyRequest> Executor::values_back(const Slot& holder) const {
  std::vector<CopyRequest> transfers;
  const auto layers = holder.trial_layers();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].own.bytes == 0) continue;
    const auto& held = holder.layers[i];
    transfers.push_back(
        {holder.trial->own_in_host(layers[i]), held.parameters->tensor.data_ptr(), layers[i].own.bytes});
    if (!held.copies) continue;
    const auto to = holder.trial->own_copy_in_host(layers[i]);
    transfers.push_back({to.data(), held.copies->tensor.data_ptr(), to.size()});
  }
  return transfers;
}

std::vector<CopyRequest> Executor::write_back(const Slot& holder) const {
  auto transfers = moments_back(holder);
  const auto values = values_back(holder);
  transfers.insert(transfers.end(), values.begin(), values.end());
  return transfers;
}

void Executor::evict_resident(DeviceState& device, std::uint32_t trial, std::function<void()> then) {
  const auto known = device.residents.find(trial);
  const Resident resident = std::move(known->second);
  device.residents.erase(known);
  auto transfers = resident.dirty ? write_back(*resident.slot) : std::vector<CopyRequest>();
  store(device, std::move(transfers), resident.slot->trial->setup().id + "/write back",
        [this, trial, resident, then = std::move(then)] {
          unpin(*resident.slot, resident.dirty);
          resident.slot->drop_bytes();
          if (const auto active = active_.find(trial); active != active_.end()) active->second.home.reset();
          then();
        });
}

void Executor::make_room(DeviceState& device, std::uint32_t trial) {
  give_up_kept(device);
  while (!device.ahead.empty()) give_back_last(device);
  std::vector<std::uint32_t> others;
  for (const auto& [number, resident] : device.residents)
    if (number != trial) others.push_back(number);
  for (const auto number : others) evict_resident(device, number, [] {});
}

void Executor::store(DeviceState& device, std::vector<CopyRequest> transfers, std::string label,
                     std::function<void()> done) {
  ++transfers_in_flight_;
  ++device.stores_in_flight;
  device.device->store(std::move(transfers), std::move(label), [this, &device, done = std::move(done)]() mutable {
    {
      const std::lock_guard lock(mutex_);
      fail_all_if_failed(device);
      done();
    }
    done = nullptr;  // what it held on the device is free before anybody looks for room
    const std::lock_guard lock(mutex_);
    --transfers_in_flight_;
    --device.stores_in_flight;
    dispatch();
  });
}

void Executor::store_boundary(DeviceState& device, const std::shared_ptr<TrialRun>& trial, Boundary& boundary,
                              std::function<void()> done) {
  std::vector<CopyRequest> transfers;
  for (std::size_t m = 0; m < boundary.kept.size(); ++m)
    transfers.push_back({boundary.host.data() + boundary.offsets[m], boundary.kept[m]->tensor.data_ptr(),
                         static_cast<Bytes>(boundary.kept[m]->tensor.nbytes())});
  boundary.in_host = Boundary::InHost::storing;
  ++boundary.stores_in_flight;
  store(device, std::move(transfers), trial->setup().id + "/boundary",
        [trial, &boundary, turn = boundary.turn, held = boundary.kept, done = std::move(done)] {
          --boundary.stores_in_flight;
          if (boundary.turn == turn) {
            boundary.in_host = Boundary::InHost::there;
            if (boundary.let_go) boundary.kept.clear();
          }
          done();
        });
}

void Executor::send_home(const std::shared_ptr<TrialRun>& trial, Boundary& boundary) {
  boundary.let_go = true;
  if (boundary.in_host == Boundary::InHost::absent)
    store_boundary(*devices_[boundary.device], trial, boundary, [] {});
  else if (boundary.in_host == Boundary::InHost::there)
    boundary.kept.clear();
}

void Executor::store_state(DeviceState& device, const std::shared_ptr<Slot>& slot, Outcome& outcome) {
  if (!device.device->has_own_memory() || slot->task.task.kind != TaskKind::backward) return;
  TrialRun& trial = *slot->trial;
  std::vector<CopyRequest> transfers;
  std::vector<at::Tensor> sources;
  if (outcome.gradients.empty()) {
    store_moments(device, slot);
    transfers = values_back(*slot);
  }
  for (auto& kept : outcome.gradients) {
    const auto& places = trial.layers()[kept.layer].own.places;
    std::byte* const to = trial.gradient_piece(kept.layer, kept.piece).data();
    auto& gradients = kept.gradients;
    for (std::size_t p = 0; p < gradients.size(); ++p)
      if (places[p].bytes > 0) transfers.push_back({to + places[p].offset, gradients[p].data_ptr(), places[p].bytes});
    std::move(gradients.begin(), gradients.end(), std::back_inserter(sources));
  }
  std::vector<TrialRun::TiedUse*> uses;
  for (auto& tied : outcome.tied) {
    uses.push_back(tied.use);
    sources.push_back(tied.gradient);
    transfers.push_back({tied.to().data(), sources.back().data_ptr(), tied.to().size()});
  }
  if (transfers.empty()) return;
  ++slot->stores_left;
  store(device, std::move(transfers), slot->label(),
        [this, &device, slot, held = std::move(sources), uses = std::move(uses)] {
          for (auto* use : uses) use->left = true;
          settle(device, slot);
        });
}

/// Before the values, which tasks behind this one may have taken over: moments go as soon as they are home.
void Executor::store_moments(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  auto transfers = moments_back(*slot);
  if (transfers.empty()) return;
  ++slot->stores_left;
  store(device, std::move(transfers), slot->label() + " moments", [this, &device, slot] {
    for (auto& layer : slot->layers) layer.moments.reset();
    settle(device, slot);
  });
}

void Executor::settle(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  if (--slot->stores_left > 0) return;
  if (!device.device->has_own_memory() || !slot->trial->updates_beside_after(slot->task.task))
    return settled(device, slot);
  slot->drop_bytes();
  slot->update = order_update(*slot->trial, slot->task);
  update_beside(slot);
}

void Executor::settled(DeviceState& device, const std::shared_ptr<Slot>& slot) {
  TrialRun& trial = *slot->trial;
  slot->go(SlotState::empty);
  std::erase(device.storing, slot);
  if (slot->writes)
    for (auto& layer : slot->trial_layers())
      if (layer.trainable) ++layer.writes_home;
  unpin(*slot, slot->writes);
  slot->drop_bytes();
  Active& active = active_.at(trial.setup().number);
  --active.slots;
  if (slot->task.task.kind == TaskKind::backward) note_home(active, slot->first_layer, slot->end_layer);
  begin_exchange_if_due(active);
  finish_visit_if_done(active);
}

bool Executor::recover(DeviceState& device, const std::shared_ptr<Slot>& slot, const DeviceOutOfMemory& error) {
  // First alone on the device: what was prefetched is given up, what others left there goes home.
  const std::uint32_t number = slot->trial->setup().number;
  slot->keeps.reset();
  slot->recorded.reset();
  if (Active& active = active_.at(number); active.error) {  // it only had to end
    device.current = nullptr;
    give_up(device, slot);
    finish_visit_if_done(active);
    return false;
  }
  if (slot->out_of_memory++ == 0) {
    make_room(device, number);
    if (slot->kept) {  // its graph is spent: the task is chosen again, and recomputes
      device.current = nullptr;
      give_up(device, slot);
      set_idle(active_.at(number), true);
      return false;
    }
    std::unique_lock lock(mutex_, std::adopt_lock);
    changed_.wait(lock, [&] { return device.stores_in_flight == 0 && device.given_up_loads == 0; });
    lock.release();
    return true;
  }
  device.current = nullptr;
  const Bytes limit = device.device->account().limit();
  cut_or_fail(device, slot, error.needed + limit - std::min(limit, error.available));
  return false;
}

void Executor::cut_or_fail(DeviceState& device, const std::shared_ptr<Slot>& slot, Bytes needed) {
  TrialRun& trial = *slot->trial;
  Active& active = active_.at(trial.setup().number);
  const ShardPlan plan = trial.shard(slot->task.task.shard);
  const std::uint32_t number = trial.setup().number;
  give_up(device, slot);
  if (trial.recut(host_)) {
    ++device.report.recuts;
    const auto go_on = [this, number] {
      const auto cut = active_.find(number);
      if (cut != active_.end() && !cut->second.error) set_idle(cut->second, true);
    };
    if (device.residents.contains(number))
      evict_resident(device, number, go_on);
    else
      go_on();
    return;
  }
  const auto& name = trial.setup().source->description().layers[plan.begin].name;
  const auto limit = device.device->account().limit();
  const char* way_out = plan.end - plan.begin > 1
                            ? "), and host_memory has no room to cut it in two; give either more memory"
                            : "); give the device more memory or lower train.micro_batch_size";
  fail_trial(active, std::make_exception_ptr(ShardDoesNotFit(
                         text::cat(device.device->name(), ": the shard that begins with layer '", name,
                                   "' does not fit: it needs ", needed, " bytes (", text::format_bytes(needed),
                                   ") and the device has ", limit, " (", text::format_bytes(limit), way_out))));
}

}  // namespace hopyard
