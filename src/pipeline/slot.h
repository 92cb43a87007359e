// A task on its way through a device: its bytes, and the states it passes.
#pragma once

#include <memory>
#include <vector>

#include "pipeline/recorded_pass.h"
#include "pipeline/step_verdict.h"
#include "pipeline/trial_run.h"

namespace hopyard {

/// empty → reserved → loading → ready → computing → storing → empty. A task that is given up before it computes goes
/// back to empty from wherever it is; so does one that runs out of memory, when its shard is cut in two.
enum class SlotState : std::uint8_t { empty, reserved, loading, ready, computing, storing };
bool may_follow(SlotState from, SlotState to);
const char* to_string(SlotState state);

/// A layer's bytes in a device's own memory; null where it has none. `fresh`: this slot must load them; otherwise they
/// were taken over. Frozen bytes belong to nobody: whoever needs them holds the same. `copies`: of the parameters, in
/// place of them; beside them, of a task that updates, it is room for new ones.
struct LayerOnDevice {
  DeviceHold parameters, copies, moments, frozen;
  bool parameters_fresh = false, copies_fresh = false, moments_fresh = false;
  bool reads_host() const { return parameters_fresh || copies_fresh || moments_fresh; }
};

/// An input of a task that comes from a task before: an activation or a gradient.
struct SlotInput {
  Boundary* boundary = nullptr;        ///< null: not needed, or
  const Features* features = nullptr;  ///< computed long ago
  std::uint64_t turn = 0;              ///< of the boundary: which of its contents is meant
  std::vector<DeviceHold> loaded;      ///< own memory: one for each micro-batch
  bool requested = false, there = false;
  bool needed() const { return boundary != nullptr || features != nullptr; }
};

/// The value of a tied parameter that another layer owns.
struct BorrowedValue {
  const TrialRun::TiedUse* use = nullptr;
  DeviceHold value;
  std::uint64_t after = 0;  ///< so many writes of the owner must be home before it is loaded
  bool in_layer = false;    ///< `value` is the whole part of the owner's layer, which is on the device
  bool fresh = true;        ///< must be loaded by this slot; a frozen one by whoever comes first
};

/// What a tied parameter's value takes of a device, and what its gradient does.
Bytes value_bytes(const TrialRun& trial, const TrialRun::TiedUse& use);
Bytes gradient_bytes(const TrialRun::TiedUse& use);

/// A forward pass that stays on its device for the backward of the same layers and batch. It holds no bytes of theirs
/// and goes whenever its room is needed: the backward recomputes then.
struct KeptForward {
  const TrialRun* trial = nullptr;
  std::uint32_t unit = 0, first_layer = 0, end_layer = 0;
  DeviceHold room;  ///< its place in the device's ledger
  ForwardGraph graph;
};

/// What an update needs to know of its step, which may have ended when it comes to run.
struct UpdateOrder {
  StepVerdict verdict;
  std::uint64_t number = 0;  ///< of the update, for the optimizer
};
/// Requires that all gradients of the step are there. Throws as judge_step().
UpdateOrder order_update(const TrialRun& trial, const PlannedTask& task);

/// Lives from the choice of a task until its bytes are stored. Guarded by the executor's lock; while computing, the
/// device's compute thread owns all but `state`.
struct Slot {
  std::shared_ptr<TrialRun> trial;
  PlannedTask task;
  std::uint32_t device = 0;
  SlotState state = SlotState::reserved;
  /// As when the task was chosen: a re-cut renumbers shards while slots are still being stored.
  std::uint32_t first_layer = 0, end_layer = 0;
  std::vector<std::uint32_t> written;  ///< blobs that the task changes
  bool writes = false;                 ///< leaves newer bytes in the host tier
  bool cancelled = false;
  UpdateOrder update;  ///< of a task that updates beside devices
  bool early = false;  ///< chosen before its room is there: bytes that leave the device make it
  std::vector<std::uint32_t> pins;
  bool pinned = false, state_requested = false, state_loaded = false;
  std::vector<LayerOnDevice> layers;  ///< own memory: one for each layer of the shard
  std::vector<std::uint64_t> after;   ///< for each layer: so many writes come before this task
  std::vector<BorrowedValue> borrowed;
  std::vector<std::pair<const TrialRun::TiedUse*, DeviceHold>> tied_gradients;  ///< for the owner's backward
  bool tied_requested = false, tied_there = false;
  SlotInput activation, gradient;
  std::shared_ptr<KeptForward> keeps;      ///< a forward that is computed with its graph
  std::shared_ptr<KeptForward> kept;       ///< a backward's, from its forward: its activation is not loaded
  std::shared_ptr<RecordedPass> recorded;  ///< of its trial, which stays on the device: made or used
  Boundary* output = nullptr;              ///< the boundary that the task writes; null: none
  Bytes workspace = 0;
  std::vector<DeviceBytes*> brings;  ///< frozen bytes that its own load brings; held elsewhere in it
  int loads_in_flight = 0;           ///< transfers to the device that have not ended
  int stores_left = 0;               ///< transfers to the host that have not ended
  int out_of_memory = 0;             ///< how often computing it ran out of memory

  void go(SlotState to);
  bool holds(std::uint32_t layer) const { return layer >= first_layer && layer < end_layer; }
  std::span<TrialRun::LayerState> trial_layers() const { return trial->layers_between(first_layer, end_layer); }
  /// Lets go of everything on the device.
  void drop_bytes();
  bool inputs_there() const {
    return (!activation.needed() || activation.there) && (!gradient.needed() || gradient.there) &&
           (tied_gradients.empty() || tied_there);
  }
  bool frozen_there() const;
  /// What the boundary held before may still be on its way to the host from another device.
  bool output_free() const { return output == nullptr || output->stores_in_flight == 0 || output->device == device; }
  bool ready() const { return state_loaded && frozen_there() && inputs_there() && output_free(); }
  std::string label() const;  ///< "t03/s1/backward"
};

}  // namespace hopyard
