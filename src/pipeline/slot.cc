#include "pipeline/slot.h"

#include "base/failure.h"

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

void Slot::go(SlotState to) {
  require(may_follow(state, to), "a slot cannot go from ", to_string(state), " to ", to_string(to));
  state = to;
}

void Slot::drop_bytes() {
  layers.clear();
  borrowed.clear();
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
