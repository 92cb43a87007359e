#include "planner/planner.h"

#include <algorithm>
#include <numeric>

#include "base/failure.h"
#include "partitioner/shard_tasks.h"
#include "pipeline/profiler.h"
#include "pipeline/step_program.h"
#include "planner/spill_forecast.h"
#include "spill/host_tier.h"

namespace hopyard {

namespace {

constexpr double kWorkspaceMargin = 1.1;    // of a measured workspace: kernels differ a little with the batch
constexpr double kWindowShareMin = 0.75;    // of a trial's state
constexpr Bytes kWorkspaceSlack = 8 * MiB;  // batches, masks, small tensors

Bytes with_margin(Bytes bytes) {
  return static_cast<Bytes>(static_cast<double>(bytes) * kWorkspaceMargin) + kWorkspaceSlack;
}

std::vector<BlobUse> step_uses(const TrialSetup& setup) {
  std::vector<BlobUse> uses;
  for (const TaskRef& task : training_program(setup))
    uses.push_back({blobs_needed(setup, task), blobs_changed(setup, task)});
  return uses;
}

Bytes spilled_per_step(const TrialSetup& setup, std::uint32_t prefetch_tasks) {
  if (setup.window >= trial_state_bytes(setup)) return 0;
  std::vector<Bytes> bytes;
  for (std::uint32_t blob = 0; blob < blob_count(setup); ++blob)
    bytes.push_back(HostBuffer::rounded(blob_bytes(setup, blob)));
  return spilled_per_round(step_uses(setup), bytes, setup.window, prefetch_tasks);
}

Bytes frozen_blob_bytes(const TrialSetup& setup) {
  Bytes bytes = 0;
  for (std::uint32_t l = 0; l < end_layer(setup); ++l)
    if (uses_layer(setup, l) && has_frozen_blob(setup, l)) bytes += layout_of(setup, l, Part::shared).bytes;
  return bytes;
}

std::string cost_key(const TrialSetup& setup) {
  return text::cat(cost_text(setup.source->spec()), "|", setup.train.batch_size, "|", setup.train.micro_batch_size, "|",
                   micro_batches_here(setup.train), "|", gradient_pieces(setup.train), "|",
                   static_cast<int>(setup.train.optimizer.kind), "|", moment_count(setup.train.optimizer), "|",
                   to_string(setup.train.precision), "|", updates_on_host(setup.train));
}

[[noreturn]] void refuse(const TrialSetup& setup, const DoesNotFit& refusal, const char* where) {
  fail(ExitCode::capacity, setup.id, ": layer '", setup.source->description().layers[refusal.layer].name, "' needs ",
       refusal.needed, " bytes (", text::format_bytes(refusal.needed), ") and ", where, " has ", refusal.available,
       " (", text::format_bytes(refusal.available), "); give it more memory or lower train.micro_batch_size");
}

[[noreturn]] void refuse_host(const TrialSetup& setup, Bytes need, Bytes available) {
  fail(ExitCode::capacity, setup.id, ": needs at least ", need, " bytes (", text::format_bytes(need),
       ") of the host tier and ", available, " (", text::format_bytes(available),
       ") are there; raise resources.host_memory or lower train.micro_batch_size",
       setup.train.data_parallel.staleness > 0 ? " or train.data_parallel.staleness" : "");
}

DeviceLimits careful(DeviceLimits limits) {
  limits.memory = usable_memory(limits.memory);
  return limits;
}

/// The window without which the trial cannot run, however it is cut.
Bytes window_least(TrialSetup setup) {
  const auto layers = static_cast<std::uint32_t>(setup.costs.size());
  setup.plan.shards = {make_shard(setup.costs, 0, layers, setup.limits)};
  const Bytes whole = trial_window_min(setup);
  setup.plan.shards.clear();
  for (std::uint32_t l = 0; l < layers; ++l)
    setup.plan.shards.push_back(make_shard(setup.costs, l, l + 1, setup.limits));
  return std::min(whole, trial_window_min(setup));
}

}  // namespace

Planner::Planner(PlannerInputs inputs) : inputs_(std::move(inputs)) {
  require(!inputs_.devices.empty(), "a planner needs a device");
  device_ = inputs_.devices.front();
  for (const auto& device : inputs_.devices) {
    if (device.type != device_.type)
      fail(ExitCode::usage, "resources.devices: devices of different types cannot be mixed in one run; name one type");
    if (device.type == DeviceSpec::Type::cpu) cpu_devices_ += device.count;
    if (device.memory > 0 && (device_.memory == 0 || device.memory < device_.memory)) device_ = device;
  }
}

std::uint32_t Planner::device_count() const { return hopyard::device_count(inputs_.devices); }

Bytes Planner::host_for_trials() const {
  const Bytes taken = inputs_.staging + features_ + cpu_devices_ * cpu_workspace_;
  return inputs_.host_memory - std::min(inputs_.host_memory, taken);
}

const std::vector<LayerCost>& Planner::costs_of(const TrialSetup& setup) {
  auto& costs = costs_[cost_key(setup)];
  if (!costs.empty()) return costs;
  refuse_too_large(setup);
  // Cards have nothing in common that would slow them, and one speaks for all.
  const bool cards = device_.type == DeviceSpec::Type::cuda;
  costs = profile_layers(*setup.source, *setup.train_data, setup.train, measuring(),
                         cards ? 1 : std::min(device_count(), std::max(1u, inputs_.trials)));
  return costs;
}

DeviceLimits Planner::limits_of(const TrialSetup& setup) const {
  DeviceLimits limits;
  limits.memory = device_.memory - device_.overhead;
  limits.double_buffer = inputs_.execute.double_buffer;
  limits.micro_batches = micro_batches_of(setup.train);
  limits.update_on_host = is_two_pass(setup.train) || updates_on_host(setup.train);
  limits.host_always = updates_on_host(setup.train);
  limits.host_beside = updates_beside(setup.train);
  if (device_.type == DeviceSpec::Type::cpu) return limits;
  limits.frozen_copies = limits.own_copies = computes_in_half(setup.train.precision);
  limits.load_bytes_per_s = limits.store_bytes_per_s = device_.link_bytes_per_s;
  limits.latency_s = device_.latency_s;
  return limits;
}

/// What is too large by its sizes alone is refused before profiling would allocate a layer of it.
void Planner::refuse_too_large(const TrialSetup& setup) const {
  TrialSetup sizes = setup;
  sizes.costs = layer_sizes(*setup.source, setup.train);
  if (device_.type == DeviceSpec::Type::cpu) {
    cut_for_host(sizes);
    return;
  }
  const DeviceLimits limits = careful(setup.limits);
  if (inputs_.execute.cuts) {
    cut(sizes, sizes.costs, limits);
  } else if (!resident_plan(sizes.costs, limits)) {
    if (const auto misfit = first_misfit(sizes.costs, limits)) refuse(setup, *misfit, "a device");
  }
  const Bytes least = window_least(sizes);
  if (least > host_for_trials()) refuse_host(setup, least, host_for_trials());
}

PartitionPlan Planner::cut(TrialSetup setup, std::vector<LayerCost> costs, const DeviceLimits& limits) const {
  setup.costs = std::move(costs);
  setup.limits = limits;
  if (inputs_.execute.cuts) {
    for (const auto first : *inputs_.execute.cuts)
      if (first == 0 || first >= setup.costs.size())
        fail(ExitCode::usage, "execute.cuts: ", first, " is not between 1 and ", setup.costs.size() - 1,
             ", the last layer of this model");
    PartitionPlan plan = plan_cuts(setup, *inputs_.execute.cuts);
    for (const auto& shard : plan.shards) {
      const Bytes need = shard_need(shard, limits);
      if (limits.memory > 0 && need > limits.memory) refuse(setup, {shard.begin, need, limits.memory}, "a device");
    }
    return plan;
  }
  const auto computed = computed_costs(setup);
  const auto result = inputs_.execute.partitioner == ExecuteSpec::Partitioner::dp ? partition_dp(computed, limits)
                                                                                  : partition_greedy(computed, limits);
  if (result.plan) return in_whole_model(setup, *result.plan);
  DoesNotFit misfit = *result.refusal;
  misfit.layer += setup.first_layer;
  refuse(setup, misfit, device_.type == DeviceSpec::Type::cpu ? "the host tier" : "a device");
}

/// A step in two passes is updated on the host where the model is cut. On a GPU that shows in the bits, so it is where
/// it is whole as well.
UpdatePlace Planner::update_place(const TrainSpec& train) const {
  if (train.update != UpdatePlace::chosen) return train.update;
  return device_.type == DeviceSpec::Type::cuda && is_two_pass(train) ? UpdatePlace::host : UpdatePlace::device;
}

TrialForecast Planner::plan(TrialSetup& setup) {
  setup.train.update = update_place(setup.train);
  setup.limits = limits_of(setup);
  setup.costs = costs_of(setup);
  if (device_.type == DeviceSpec::Type::cpu) {
    setup.plan = cut_for_host(setup);
    cpu_workspace_ = std::max(cpu_workspace_, workspace_needed(setup.plan));
  } else {
    setup.plan = cut(setup, setup.costs, careful(setup.limits));
  }
  choose_window(setup, host_for_trials());

  TrialForecast forecast;
  for (const auto& cost : setup.costs)
    if (cost.trainable) forecast.state += cost.parameter_bytes - cost.frozen_bytes + cost.moment_bytes;
  if (has_loss_scale(setup)) forecast.state += kLossScaleBytes;
  forecast.host = setup.window + trial_overhead_bytes(setup);
  forecast.frozen = setup.frozen_in_window ? 0 : shared_layer_bytes(setup);
  forecast.form = frozen_form(setup);
  forecast.workspace = largest_workspace(setup.plan);
  forecast.disk = forecast.state + frozen_blob_bytes(setup);
  forecast.spilled = trial_disk_bytes(setup) - committed_bytes(setup);
  forecast.spilled_least = forecast.spilled - std::min(forecast.spilled, setup.window);
  forecast.spilled_per_step = spilled_per_step(setup, inputs_.execute.prefetch_tasks);
  const Bytes blobs = trial_state_bytes(setup);
  forecast.spilled_per_admission = std::min(derived_bytes(setup), blobs - std::min(blobs, setup.window));
  return forecast;
}

Bytes Planner::host_left(Bytes workspace) const {
  const Bytes taken = inputs_.staging + features_ + cpu_devices_ * std::max(workspace, cpu_workspace_);
  return inputs_.host_memory - std::min(inputs_.host_memory, taken);
}

Bytes Planner::workspace_needed(const PartitionPlan& plan) const {
  return device_.memory > 0 ? device_.memory : with_margin(largest_workspace(plan));
}

PartitionPlan Planner::cut_for_host(TrialSetup setup) const {
  if (inputs_.execute.cuts) return cut(setup, setup.costs, setup.limits);
  setup.plan = plan_cuts(setup, {});
  const Bytes largest = largest_workspace(setup.plan), workspace = workspace_needed(setup.plan);
  const Bytes state = trial_state_bytes(setup) + trial_overhead_bytes(setup) + shared_layer_bytes(setup);
  if ((device_.memory == 0 || largest <= device_.memory) && state <= host_left(workspace)) return setup.plan;
  // Streams from disk, which takes the part of the link: state must fit the window two shards at a time.
  auto states = setup.costs;
  for (auto& cost : states) cost.saved_bytes = cost.transient_bytes = cost.gradient_bytes = cost.output_bytes = 0;
  DeviceLimits window = setup.limits;
  window.memory = host_left(std::min(workspace, with_margin(largest / 2)));
  window.load_bytes_per_s = inputs_.disk_read_bytes_per_s;
  window.store_bytes_per_s = inputs_.disk_write_bytes_per_s;
  const PartitionPlan streamed = cut(setup, states, window);
  std::vector<std::uint32_t> cuts;
  for (std::size_t s = 1; s < streamed.shards.size(); ++s) cuts.push_back(streamed.shards[s].begin);
  const PartitionPlan plan = plan_cuts(setup, cuts);
  for (const auto& shard : plan.shards) {
    const Bytes need = std::max(shard.forward_workspace, shard.backward_workspace);
    if (device_.memory > 0 && need > device_.memory) refuse(setup, {shard.begin, need, device_.memory}, "a cpu device");
  }
  return plan;
}

void Planner::choose_window(TrialSetup& setup, Bytes available) {
  setup.frozen_in_window = !inputs_.execute.share_frozen;
  const Bytes shared = setup.frozen_in_window ? 0 : shared_layer_bytes(setup);
  const Bytes overhead = trial_overhead_bytes(setup);
  const std::uint32_t together = std::max(1u, std::min(device_count(), inputs_.trials));
  if (trial_state_bytes(setup) + overhead + shared <= available) {
    const Bytes whole = trial_state_bytes(setup);
    const Bytes free = available - shared;
    const Bytes share = free / together - std::min(free / together, overhead);
    // As many trials as devices should be active at once. Where that takes a little of the window, a little of the
    // state goes through the disk each step; where it takes much, trials take turns instead.
    const bool shrinks = share < whole && share >= trial_window_min(setup) &&
                         static_cast<double>(share) >= kWindowShareMin * static_cast<double>(whole);
    setup.window = shrinks ? share : whole;
    return;
  }
  setup.frozen_in_window = true;
  const Bytes least = trial_window_min(setup);
  const Bytes whole = trial_state_bytes(setup);
  const Bytes share = available / together - std::min(available / together, overhead);
  setup.window = std::min(whole, std::max(least, share));
  if (setup.window + overhead > available) refuse_host(setup, least + overhead, available);
}

void HostTogether::add(const TrialForecast& trial) {
  bytes_ = bytes_with(trial);
  Bytes& frozen = frozen_[trial.form];
  frozen = std::max(frozen, trial.frozen);
}

Bytes HostTogether::bytes_with(const TrialForecast& trial) const {
  const auto known = frozen_.find(trial.form);
  const Bytes there = known == frozen_.end() ? 0 : known->second;
  return bytes_ + trial.host + std::max(there, trial.frozen) - there;
}

Bytes HostTogether::frozen() const {
  Bytes bytes = 0;
  for (const auto& [form, of_form] : frozen_) bytes += of_form;
  return bytes;
}

WrittenAnew written_anew(const std::vector<TrialForecast>& forecasts, std::uint32_t active) {
  require(active > 0, "no trial is active");
  WrittenAnew anew;
  struct Trial {
    Bytes training, committing;
  };
  std::vector<Trial> trials;
  for (const auto& trial : forecasts) {
    const bool each_step = trial.spilled_per_step > 0;
    const Bytes spilled = each_step ? trial.spilled : trial.spilled_per_admission;
    trials.push_back({each_step ? trial.state + spilled : spilled, trial.state + spilled});
    anew.least = std::max(anew.least, trial.state + trial.spilled_least);
  }
  std::sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) { return a.training > b.training; });
  const std::size_t others = trials.empty() ? 0 : std::min<std::size_t>(active, trials.size()) - 1;
  Bytes beside = 0;
  for (std::size_t i = 0; i < others; ++i) beside += trials[i].training;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    const Bytes training = i < others ? beside - trials[i].training + trials[others].training : beside;
    anew.most = std::max(anew.most, training + trials[i].committing);
  }
  return anew;
}

std::uint32_t active_at_once(const std::vector<TrialForecast>& forecasts, Bytes host_for_trials) {
  HostTogether together;
  std::uint32_t active = 0;
  for (const auto& forecast : forecasts) {
    if (together.bytes_with(forecast) > host_for_trials) continue;
    together.add(forecast);
    ++active;
  }
  return active;
}

}  // namespace hopyard
