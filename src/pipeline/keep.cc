// Keeping what spares work, where there is room: what forward passes saved, so that their backward recomputes nothing,
// and records of a step. Everything here runs under the executor's lock.
#include <algorithm>

#include "pipeline/executor.h"

namespace hopyard {

namespace {

/// What the graph of a shard's forward pass holds: what its layers save, and its input.
Bytes graph_bytes(TrialRun& trial, const Slot& slot) {
  const TrialSetup& setup = trial.setup();
  Bytes bytes = trial.activation_bytes(slot.task);
  for (std::uint32_t l = slot.first_layer; l < slot.end_layer; ++l)
    bytes += setup.costs[l].saved_bytes * setup.limits.micro_batches;
  return charged_bytes(bytes);
}

}  // namespace

Bytes Executor::kept_bytes(const DeviceState& device) const {
  Bytes bytes = 0;
  for (const auto& kept : device.kept) bytes += kept->room->bytes();
  for (const auto& [trial, resident] : device.residents)
    if (resident.recorded && resident.recorded.use_count() == 1) bytes += resident.recorded->bytes();
  return bytes;
}

void Executor::find_record(DeviceState& device, Slot& slot) {
  const auto known = device.residents.find(slot.trial->setup().number);
  const bool step = slot.task.task.kind == TaskKind::backward && !slot.task.evaluation;
  if (!spec_.cuda_graphs || known == device.residents.end() || !step || !device.device->can_record()) return;
  Resident& resident = known->second;
  if (!resident.recorded && resident.may_record) {
    const auto next = slot.trial->peek(1);  // which would be asked for as a record
    if (!next || next->task.kind != TaskKind::backward || next->evaluation) return;
    // As much again as its task takes for a while, for good.
    const Bytes bytes = charged_bytes(slot.workspace);
    if (*device.ledger + bytes + workspace_needed(device) > usable_memory(device.limit)) return;
    resident.recorded = std::make_shared<RecordedPass>(std::make_shared<DeviceBytes>(device.ledger, bytes));
  }
  slot.recorded = resident.recorded;
}

void Executor::note_record(DeviceState& device, Slot& slot) {
  const auto record = std::move(slot.recorded);
  if (!record) return;
  device.report.recorded_steps += record->was_used() ? 1 : 0;
  const auto known = device.residents.find(slot.trial->setup().number);
  if (known == device.residents.end() || record->is_recorded()) return;
  // Its task tried to record, and the record was not to be had.
  known->second.recorded.reset();
  known->second.may_record = false;
}

bool Executor::drop_record(DeviceState& device) {
  for (auto& [trial, resident] : device.residents) {
    if (!resident.recorded || resident.recorded.use_count() > 1) continue;
    resident.recorded.reset();
    resident.may_record = false;
    return true;
  }
  return false;
}

void Executor::find_kept(DeviceState& device, Slot& slot) {
  if (slot.kept || slot.task.evaluation || slot.task.task.kind != TaskKind::backward) return;
  const auto found = std::find_if(device.kept.begin(), device.kept.end(), [&](const auto& kept) {
    return kept->trial == slot.trial.get() && kept->unit == slot.task.unit && kept->first_layer == slot.first_layer &&
           kept->end_layer == slot.end_layer;
  });
  if (found == device.kept.end()) return;
  slot.kept = std::move(*found);
  device.kept.erase(found);
  slot.workspace -= std::min(slot.workspace, slot.kept->room->bytes());  // it is what the backward would save
}

void Executor::keep_if_room(DeviceState& device, Slot& slot) {
  TrialRun& trial = *slot.trial;
  const bool forward = slot.task.task.kind == TaskKind::forward && !slot.task.evaluation;
  if (!spec_.keep_activations || !forward || !trial.recomputes(slot.task.task.shard)) return;
  const Bytes bytes = graph_bytes(trial, slot);
  const Bytes limit = usable_memory(device.limit);
  if (*device.ledger + bytes + largest_workspace(trial.setup().plan) > limit) return;
  slot.keeps = std::make_shared<KeptForward>();
  slot.keeps->trial = &trial;
  slot.keeps->unit = slot.task.unit;
  slot.keeps->first_layer = slot.first_layer;
  slot.keeps->end_layer = slot.end_layer;
  slot.keeps->room = std::make_shared<DeviceBytes>(device.ledger, bytes);
}

void Executor::drop_kept(DeviceState& device, Bytes needed) {
  const Bytes limit = usable_memory(device.limit);
  while (*device.ledger + needed > limit && drop_record(device)) {
  }
  // The oldest is of the first layers: backward comes to it last.
  while (!device.kept.empty() && *device.ledger + needed > limit) device.kept.pop_front();
}

bool Executor::give_up_kept(DeviceState& device) {
  if (device.recording) return false;  // what is let go would stay with the allocator
  bool any = !device.kept.empty();
  device.kept.clear();
  while (drop_record(device)) any = true;
  return any;
}

void Executor::forget_kept(const TrialRun& trial, const DeviceState* but) {
  for (auto& device : devices_)
    if (device.get() != but) std::erase_if(device->kept, [&](const auto& kept) { return kept->trial == &trial; });
}

}  // namespace hopyard
