// The predicted time of a step: its tasks in order, each with the transfers that hide behind it.
#include <algorithm>

#include "base/failure.h"
#include "partitioner/shard_tasks.h"

namespace hopyard {
namespace {

double transfer_seconds(Bytes bytes, double bytes_per_s, const DeviceLimits& device) {
  if (bytes == 0 || !has_link(device)) return 0;
  return device.latency_s + static_cast<double>(bytes) / bytes_per_s;
}

ShardTask make_task(double compute_s, Bytes load, Bytes frozen, Bytes store, Bytes workspace,
                    const DeviceLimits& device) {
  ShardTask task;
  task.compute_s = compute_s;
  task.load_s = transfer_seconds(load, device.load_bytes_per_s, device);
  task.store_s = transfer_seconds(store, device.store_bytes_per_s, device);
  task.state = has_link(device) ? load : 0;
  task.frozen = has_link(device) ? frozen : 0;
  task.frozen_load_s = has_link(device) ? static_cast<double>(frozen) / device.load_bytes_per_s : 0;
  task.stored = has_link(device) ? store : 0;
  task.workspace = workspace;
  return task;
}

std::vector<ShardPlan> make_shards(const std::vector<LayerCost>& layers, const std::vector<std::uint32_t>& cuts,
                                   const DeviceLimits& device) {
  std::vector<ShardPlan> shards;
  std::uint32_t begin = 0;
  for (std::uint32_t cut : cuts) {
    shards.push_back(make_shard(layers, begin, cut, device));
    begin = cut;
  }
  shards.push_back(make_shard(layers, begin, static_cast<std::uint32_t>(layers.size()), device));
  return shards;
}

/// Forward of all shards but the last, then backward from the last to the first that has one.
std::vector<ShardTask> step_tasks(const std::vector<ShardPlan>& shards, const DeviceLimits& device) {
  std::vector<ShardTask> tasks;
  for (std::size_t k = 0; k + 1 < shards.size(); ++k) tasks.push_back(forward_task(shards[k], device));
  tasks.push_back(last_task(shards.back(), device));
  for (std::size_t k = shards.size() - 1; k-- > 0 && shards[k].backward;) {
    tasks.push_back(backward_task(shards[k], device));
  }
  if (first_shard_stays(shards.front().backward, shards.size(), device)) tasks.front().load_s = 0;
  return tasks;
}

void predict(PartitionPlan& plan, const std::vector<ShardTask>& tasks, const DeviceLimits& device) {
  const bool stays = first_shard_stays(plan.shards.front().backward, plan.shards.size(), device);
  double load_s = 0, store_s = 0;
  plan.step_s = stays ? 0 : tasks.front().load_s + tasks.back().store_s;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    const ShardTask* previous = t > 0 ? &tasks[t - 1] : stays ? &tasks.back() : nullptr;
    const ShardTask* next = t + 1 < tasks.size() ? &tasks[t + 1] : nullptr;
    const SlotCost slot = slot_cost(previous, tasks[t], next, device);
    plan.step_s += slot.seconds;
    plan.peak_bytes = std::max(plan.peak_bytes, slot.peak);
    plan.compute_s += tasks[t].compute_s;
    load_s += tasks[t].load_s;
    store_s += tasks[t].store_s;
  }
  plan.transfer_s = std::max(load_s, store_s);
}

}  // namespace

ShardTask forward_task(const ShardPlan& shard, const DeviceLimits& device) {
  return make_task(shard.forward_s, shard.forward_load_bytes, shard.frozen_bytes, 0, shard.forward_workspace, device);
}

ShardTask backward_task(const ShardPlan& shard, const DeviceLimits& device) {
  ShardTask task = make_task(shard.backward_s, shard.backward_load_bytes, shard.frozen_bytes, shard.store_bytes,
                             shard.backward_workspace, device);
  if (!has_link(device)) return task;
  task.state += shard.new_copy_bytes;
  task.stored_first = shard.moment_bytes;
  if (shard.moment_bytes > 0) task.store_s += device.latency_s;  // of a transfer of their own
  return task;
}

ShardTask last_task(const ShardPlan& shard, const DeviceLimits& device) {
  return shard.backward ? backward_task(shard, device) : forward_task(shard, device);
}

bool first_shard_stays(bool first_has_backward, std::size_t shards, const DeviceLimits& device) {
  return first_has_backward && shards > 1 && device.double_buffer && !device.update_on_host;
}

SlotCost slot_cost(const ShardTask* previous, const ShardTask& now, const ShardTask* next, const DeviceLimits& device) {
  const double compute = now.compute_s;
  const double load = next ? next->load_s : 0, store = previous ? previous->store_s : 0;
  // As where nothing is chosen early, on a card: a load begins only where the state has its own workspace as well.
  const Bytes own = now.state + now.workspace;
  const Bytes pair = now.state + std::max(now.workspace, next ? next->workspace : 0);
  const Bytes coming = next ? next->state : 0, going = previous ? previous->stored : 0;
  if (!device.double_buffer) return {store + compute + load, own};
  const bool hides_load = fits(pair + coming, device), hides_store = fits(own + going, device);
  if (hides_load && hides_store) {
    if (fits(pair + coming + going, device)) return {std::max({compute, load, store}), pair + coming + going};
    // The load waits for the place that the store frees.
    return {std::max(compute, store + load), std::max(pair + coming, own + going)};
  }
  if (hides_load) return {store + std::max(compute, load), pair + coming};
  if (hides_store) return {std::max(compute, store) + load, own + going};
  return {store + compute + load, own};
}

PartitionPlan evaluate_cuts(const std::vector<LayerCost>& layers, const std::vector<std::uint32_t>& cuts,
                            const DeviceLimits& device) {
  require(!layers.empty(), "a model without layers cannot be cut");
  if (cuts.empty()) {
    if (auto plan = resident_plan(layers, device)) return *plan;
  }
  PartitionPlan plan;
  plan.shards = make_shards(layers, cuts, device);
  predict(plan, step_tasks(plan.shards, device), device);
  for (const ShardPlan& shard : plan.shards) plan.peak_bytes = std::max(plan.peak_bytes, shard_need(shard, device));
  if (device.update_on_host) {
    for (const ShardPlan& shard : plan.shards) plan.host_update_s += shard.host_update_s;
    if (device.host_beside)
      plan.step_s = std::max(plan.step_s, plan.host_update_s);
    else
      plan.step_s += plan.host_update_s;
  }
  return plan;
}

}  // namespace hopyard
