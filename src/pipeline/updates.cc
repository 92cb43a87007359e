// Updates in host memory. Beside devices that have memory of their own, a thread of the host makes them: each as soon
// as the gradients of its shard are home, and devices compute other tasks meanwhile. Under the executor's lock, but for
// compute_update().
#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "model/layer.h"
#include "pipeline/executor.h"
#include "pipeline/shard_compute.h"

namespace hopyard {

void Executor::begin_updates(Active& active) {
  if (host_updates_ == nullptr || active.error) return;
  TrialRun& trial = *active.trial;
  try {
    for (auto next = trial.peek(0); next && next->task.kind == TaskKind::update; next = trial.peek(0)) {
      auto slot = new_slot(active, *next);
      slot->update = order_update(trial, *next);
      choose_writes(*slot);
      ++active.slots;
      active.updates.push_back(std::move(slot));
      trial.advance(/*used=*/false);
    }
  } catch (...) {  // who calls finishes the visit
    ++active.slots;
    fail_trial(active, std::current_exception());
    --active.slots;
  }
}

bool Executor::submit_updates(Active& active) {
  auto& waiting = active.updates;
  for (const auto& slot : waiting) {
    if (slot->pinned) continue;
    if (!pin(slot)) return true;
    if (!slot->pinned) break;
    slot->trial->note_used(slot->pins);
    slot->go(SlotState::loading);
    slot->go(SlotState::ready);
  }
  // One at a time: the shard that is read first comes first, though its gradients were the last to come home.
  if (second_pass_runs_) return false;
  const auto next = std::find_if(waiting.begin(), waiting.end(),
                                 [](const auto& slot) { return slot->pinned && reads_what_is_home(*slot); });
  if (next == waiting.end()) return false;
  const auto slot = *next;
  waiting.erase(next);
  slot->go(SlotState::computing);
  second_pass_runs_ = true;
  update_beside(slot);
  return false;
}

bool Executor::waits_for_blobs(const Active& active) {
  return std::any_of(active.updates.begin(), active.updates.end(), [](const auto& slot) { return !slot->pinned; });
}

bool Executor::reads_what_is_updated(const Active& active, const TaskRef& task) const {
  const TrialRun& trial = *active.trial;
  if (host_updates_ == nullptr || !keeps_gradients(trial.setup())) return false;
  const auto is_updated = [&](std::uint32_t layer) {
    return trial.layers()[layer].writes_home < trial.layers()[layer].writes_chosen;
  };
  const ShardPlan& shard = trial.shard(task.shard);
  for (std::uint32_t layer = shard.begin; layer < shard.end; ++layer)
    if (is_updated(layer)) return true;
  return std::any_of(trial.tied().begin(), trial.tied().end(), [&](const auto& use) {
    return use.trainable && shard.holds(use.layer) && is_updated(use.owner.layer);
  });
}

bool Executor::waits_for_update() const {
  return std::any_of(active_.begin(), active_.end(),
                     [](const auto& one) { return one.second.updates_under_way > 0 || !one.second.updates.empty(); });
}

void Executor::drop_updates(Active& active) {
  for (const auto& slot : std::exchange(active.updates, {})) give_up(*devices_.front(), slot);
}

void Executor::update_beside(const std::shared_ptr<Slot>& slot) {
  ++transfers_in_flight_;
  ++active_.at(slot->trial->setup().number).updates_under_way;
  host_updates_->submit([this, slot] {
    const double begin = monotonic_seconds();
    std::exception_ptr error;
    try {
      compute_update(*slot, slot->update);
    } catch (...) {
      error = std::current_exception();
    }
    const double end = monotonic_seconds();
    const std::lock_guard lock(mutex_);
    if (trace_ != nullptr) {
      if (!update_track_) update_track_ = trace_->track("host/update");
      trace_->add({*update_track_, slot->label(), "update", begin, end, 0});
    }
    --transfers_in_flight_;
    Active& active = active_.at(slot->trial->setup().number);
    --active.updates_under_way;
    if (error && !active.error) fail_trial(active, error);
    if (slot->task.task.kind == TaskKind::update) {
      second_pass_runs_ = false;
      slot->go(SlotState::storing);
    }
    settled(*devices_[slot->device], slot);
    dispatch();
  });
}

void Executor::compute_update(Slot& slot, const UpdateOrder& order) {
  const AccountScope uncharged(nullptr);  // views of the host tier's bytes
  TrialRun& trial = *slot.trial;
  const TrainSpec& train = trial.setup().train;
  if (order.verdict.skipped) return;
  const auto over = [&](std::uint32_t blob, Bytes bytes) {
    return tensor_over(trial.cache().bytes(blob).data(), bytes);
  };
  for (std::uint32_t l = slot.first_layer; l < slot.end_layer; ++l) {
    auto& layer = trial.layers()[l];
    if (layer.own.bytes == 0) continue;
    LoadedLayer loaded;
    loaded.index = l;
    loaded.layer = layer.module.get();
    loaded.own = &layer.own;
    loaded.shared = &layer.shared;
    loaded.trainable = true;
    loaded.parameters = over(*layer.parameters, layer.own.bytes);
    if (trial.reads_copy(Part::own))
      loaded.new_copies = tensor_over(trial.own_copy_in_host(layer).data(),
                                      trial.value_bytes(Part::own, layer.own.bytes), trial.value_type(Part::own));
    if (layer.moments) loaded.moments = over(*layer.moments, moment_bytes(trial.setup(), layer.own));
    const at::Tensor flat = over(*layer.gradients, layer.own.bytes);
    LayerGradients gradients(layer.own.places.size());
    for (std::size_t p = 0; p < gradients.size(); ++p) {
      if (layer.own.places[p].bytes == 0) continue;
      gradients[p] = parameter_view(flat, layer.module->description(), layer.own, p);
      if (order.verdict.factor != 1) gradients[p].mul_(order.verdict.factor);
    }
    const double lr = learning_rate_of(trial.setup(), trial.step_of(slot.task), l);
    update_layer(loaded, gradients, train.optimizer, lr, order.number);
  }
}

}  // namespace hopyard
