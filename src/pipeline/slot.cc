#include "pipeline/slot.h"

#include <algorithm>

#include "base/failure.h"
#include "model/layer.h"

namespace hopyard {

bool may_follow(SlotState from, SlotState to) {
  switch (from) {
    case SlotState::empty:
      return to == SlotState::reserved;
    case SlotState::reserved:
      return to == SlotState::loading || to == SlotState::empty;
    case SlotState::loading:
      return to == SlotState::ready || to == SlotState::empty;
    case SlotState::ready:
      return to == SlotState::computing || to == SlotState::empty;
    case SlotState::computing:
      return to == SlotState::storing || to == SlotState::empty;
    case SlotState::storing:
      return to == SlotState::empty;
  }
  return false;
}

const char* to_string(SlotState state) {
  switch (state) {
    case SlotState::empty:
      return "empty";
    case SlotState::reserved:
      return "reserved";
    case SlotState::loading:
      return "loading";
    case SlotState::ready:
      return "ready";
    case SlotState::computing:
      return "computing";
    case SlotState::storing:
      return "storing";
  }
  return "?";
}

UpdateOrder order_update(const TrialRun& trial, const PlannedTask& task) {
  return {judge_step(trial, trial.step_of(task)), trial.update_of(task)};
}

Bytes value_bytes(const TrialRun& trial, const TrialRun::TiedUse& use) {
  const auto& parameter = trial.layers()[use.layer].module->description().parameters[use.parameter];
  return charged_bytes(static_cast<Bytes>(parameter.elements()) * trial.value_size(use.part()));
}

Bytes gradient_bytes(const TrialRun::TiedUse& use) { return charged_bytes(use.piece_bytes); }

void Slot::go(SlotState to) {
  require(may_follow(state, to), "a slot cannot go from ", to_string(state), " to ", to_string(to));
  state = to;
}

bool Slot::frozen_there() const {
  const auto is_there = [](const DeviceHold& hold) { return !hold || hold->there; };
  return std::all_of(layers.begin(), layers.end(), [&](const auto& layer) { return is_there(layer.frozen); }) &&
         std::all_of(borrowed.begin(), borrowed.end(),
                     [&](const auto& value) { return value.use->trainable || is_there(value.value); });
}

void Slot::drop_bytes() {
  layers.clear();
  borrowed.clear();
  brings.clear();
  tied_gradients.clear();
  activation.loaded.clear();
  gradient.loaded.clear();
  keeps.reset();
  kept.reset();
}

std::string Slot::label() const {
  return text::cat(trial->setup().id, "/s", task.task.shard, "/", to_string(task.task.kind));
}

}  // namespace hopyard
