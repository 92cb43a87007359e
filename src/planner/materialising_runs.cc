// The runs that compute features: each layer is brought in once for all rows.
#include <algorithm>

#include "partitioner/shard_tasks.h"
#include "planner/sharing.h"
#include "spill/host_tier.h"

namespace hopyard {

namespace {

TrialSetup materialising_run(const TrialSetup& trial, std::uint32_t from, std::uint32_t to) {
  TrialSetup run = trial;
  run.first_layer = from;
  run.materialise_to = to;
  run.train.batch_size = trial.train.micro_batch_size;
  run.train.clip_norm.reset();
  run.train.data_parallel = {};
  run.valid_rows = 0;
  run.window = 0;
  run.frozen_in_window = false;
  for (auto& cost : run.costs) cost.forward_s /= micro_batches_here(trial.train);
  run.limits.micro_batches = 1;
  run.limits.memory = usable_memory(trial.limits.memory);
  run.limits.update_on_host = false;
  return run;
}

/// The first layer that does not fit beside those from `from` on.
std::uint32_t farthest_end(const TrialSetup& run, std::uint32_t from, std::uint32_t to, Bytes host) {
  Bytes bytes = 0, largest = 0;
  std::uint32_t end = from;
  for (; end < to; ++end) {
    const LayerCost& cost = run.costs[end];
    bytes += HostBuffer::rounded(run.limits.frozen_copies ? cost.copy_bytes : cost.parameter_bytes);
    if (run.limits.frozen_copies) largest = std::max(largest, HostBuffer::rounded(cost.parameter_bytes));
    const bool fits_device = fits(shard_need(make_shard(run.costs, from, end + 1, run.limits), run.limits), run.limits);
    if (end > from && (!fits_device || bytes + largest > host)) break;
  }
  return end;
}

}  // namespace

std::vector<TrialSetup> materialising_runs(const TrialSetup& trial, std::uint32_t from, std::uint32_t to, Bytes host) {
  std::vector<TrialSetup> runs;
  while (from < to) {
    TrialSetup run = materialising_run(trial, from, to);
    const std::uint32_t end = farthest_end(run, from, to, host);
    run.materialise_to = end;
    run.plan = plan_cuts(run, {});
    runs.push_back(std::move(run));
    from = end;
  }
  return runs;
}

}  // namespace hopyard
