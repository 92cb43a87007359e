// From plans to what the simulator runs.
#include "partitioner/shard_tasks.h"
#include "pipeline/simulator.h"

namespace hopyard {
namespace {

/// By the host's own thread, of gradients that are home.
SimTask update_beside(std::uint32_t shard, const ShardPlan& plan) {
  return {.shard = shard, .host_update_s = plan.host_update_s, .beside = true};
}

SimTask sim_task(std::uint32_t shard, const ShardTask& from, std::span<const std::uint64_t> frozen) {
  SimTask task;
  task.shard = shard;
  task.compute_s = from.compute_s;
  task.load_s = from.load_s;
  task.store_s = from.store_s;
  task.state_bytes = from.state;
  task.workspace_bytes = from.workspace;
  task.stored_bytes = from.stored;
  task.stored_first = from.stored_first;
  if (shard < frozen.size() && frozen[shard] != 0) {
    task.frozen = frozen[shard];
    task.frozen_bytes = from.frozen;
    task.frozen_load_s = from.frozen_load_s;
  }
  return task;
}

/// What stays on the device moves nothing.
void keep_on_device(std::vector<SimTask>& tasks) {
  for (SimTask& task : tasks) {
    task.load_s = task.store_s = task.frozen_load_s = 0;
    task.stored_bytes = task.stored_first = 0;
  }
}

}  // namespace

std::vector<SimTask> training_step(const PartitionPlan& plan, const DeviceLimits& device,
                                   std::span<const std::uint64_t> frozen) {
  std::vector<SimTask> tasks;
  const auto last = static_cast<std::uint32_t>(plan.shards.size() - 1);
  for (std::uint32_t k = 0; k < last; ++k) tasks.push_back(sim_task(k, forward_task(plan.shards[k], device), frozen));
  tasks.push_back(sim_task(last, last_task(plan.shards[last], device), frozen));
  for (std::uint32_t k = last; k-- > 0 && plan.shards[k].backward;) {
    tasks.push_back(sim_task(k, backward_task(plan.shards[k], device), frozen));
  }
  if (plan.host_update_s > 0 && !has_link(device)) {
    tasks.push_back({.shard = last + 1, .compute_s = plan.host_update_s});
  } else if (plan.host_update_s > 0 && device.host_beside) {
    for (SimTask& task : tasks)
      if (task.store_s > 0) task.host_update_s = plan.shards[task.shard].host_update_s;
  } else if (plan.host_update_s > 0) {
    for (std::uint32_t k = 0; k <= last; ++k)
      if (plan.shards[k].host_update_s > 0) tasks.push_back(update_beside(k, plan.shards[k]));
  }
  if (plan.resident) keep_on_device(tasks);
  return tasks;
}

std::vector<SimTask> evaluation_pass(const PartitionPlan& plan, const DeviceLimits& device,
                                     std::span<const std::uint64_t> frozen) {
  std::vector<SimTask> tasks;
  for (std::uint32_t k = 0; k < plan.shards.size(); ++k) {
    tasks.push_back(sim_task(k, forward_task(plan.shards[k], device), frozen));
  }
  if (plan.resident) keep_on_device(tasks);
  return tasks;
}

}  // namespace hopyard
