// The tasks of a step as the predictions see them: what evaluate_cuts, the dynamic program and the simulator share.
#pragma once

#include "partitioner/partitioner.h"

namespace hopyard {

/// One task of a shard: what it moves, what it holds, how long it computes.
struct ShardTask {
  double compute_s = 0, load_s = 0, store_s = 0;
  double frozen_load_s = 0;  ///< of load_s: what is spared when another trial's task has brought the same frozen bytes
  Bytes frozen = 0;          ///< of state: these bytes
  Bytes state = 0;           ///< on the device from the start of its load to the end of its compute
  Bytes workspace = 0;       ///< beside the state, while it computes
  Bytes stored = 0;          ///< what stays of the state until its store has ended
  Bytes stored_first = 0;    ///< of stored: what leaves as soon as it is home, before the rest
};

ShardTask forward_task(const ShardPlan& shard, const DeviceLimits& device);
ShardTask backward_task(const ShardPlan& shard, const DeviceLimits& device);
/// The last shard's only task: forward and backward in one, or just forward when nothing is trained.
ShardTask last_task(const ShardPlan& shard, const DeviceLimits& device);

/// The time from the start of `now`'s compute until the next task may compute, and the bytes on the device meanwhile.
struct SlotCost {
  double seconds = 0;
  Bytes peak = 0;
};
/// `previous` may still be storing, `next` (null at the end of a step) may already be loading. A transfer hides behind
/// the compute only when its shard fits on the device together with `now`.
SlotCost slot_cost(const ShardTask* previous, const ShardTask& now, const ShardTask* next, const DeviceLimits& device);

/// Every step but the first begins with the shard that the step before ended with, whose bytes are still on the device:
/// its forward task loads nothing, and hides that store. `first`: has a backward task.
bool first_shard_stays(bool first_has_backward, std::size_t shards, const DeviceLimits& device);

bool has_link(const DeviceLimits& device);
/// The device bytes that the shard needs by itself, over all its tasks.
Bytes shard_need(const ShardPlan& shard, const DeviceLimits& device);
bool fits(Bytes needed, const DeviceLimits& device);

/// The plan without cuts whose state stays on the device, if the device holds it.
std::optional<PartitionPlan> resident_plan(const std::vector<LayerCost>& layers, const DeviceLimits& device);
/// The first layer that no shard can hold.
std::optional<DoesNotFit> first_misfit(const std::vector<LayerCost>& layers, const DeviceLimits& device);

}  // namespace hopyard
