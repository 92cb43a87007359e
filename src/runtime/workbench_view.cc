// What `hopyard plan` shows of trials and tiers.
#include <algorithm>

#include "base/failure.h"
#include "hopper/bounds.h"
#include "runtime/config_sections.h"
#include "runtime/workbench.h"

namespace hopyard {

std::vector<PlanRowGroup> Workbench::describe_row_groups() const {
  std::vector<PlanRowGroup> all;
  for (const auto& group : config_.search.row_groups) {
    all.push_back({group.value, group.train_rows, group.valid_rows, std::nullopt});
    if (training_.cut) all.back().partition = training_.groups->find(group.value)->partition;
  }
  return all;
}

std::string Workbench::describe_teams() const {
  if (place_.several()) {
    const Placement placement =
        placement_of(config_, training_.all_partitions(), place_.workers, training_.cut != nullptr);
    return text::cat("Who trains a step together is decided visit by visit, among the ", placement.homes[0].size(),
                     " workers that have its partition.");
  }
  if (config_.teams.exact)
    return text::cat("Here is one worker, which trains alone what up to ", config_.teams.degree_max,
                     " may train together, to the same bits.");
  return text::cat("What several workers train together takes as many: tools/workers ", config_.teams.degree_max,
                   " CONFIG.yaml.");
}

PlanGroup Workbench::describe_group(const TrialSetup& setup, const TrialForecast& forecast) const {
  PlanGroup group;
  const auto& description = setup.source->description();
  group.title = text::cat(description.family, ", ", training_text(setup.source->spec()));
  for (std::size_t l = 0; l < description.layers.size(); ++l) {
    PlanLayer layer;
    layer.name = description.layers[l].name;
    layer.parameters = static_cast<std::uint64_t>(description.layers[l].parameter_count());
    layer.bytes = setup.costs[l].parameter_bytes;
    layer.forward_flops = description.layers[l].forward_flops_per_row * setup.train.batch_size;
    layer.trainable = setup.costs[l].trainable;
    group.layers.push_back(std::move(layer));
  }
  for (const auto& shard : setup.plan.shards)
    group.shards.push_back({description.layers[shard.begin].name, description.layers[shard.end - 1].name,
                            shard.end - shard.begin, shard.forward_load_bytes, shard.backward_load_bytes,
                            shard.store_bytes, std::max(shard.forward_workspace, shard.backward_workspace),
                            shard.forward_s, shard.backward ? shard.backward_s : 0});
  group.resident = setup.plan.shards.size() == 1;
  group.state_bytes = forecast.state;
  group.frozen_bytes = forecast.frozen;
  group.peak_device = setup.plan.peak_bytes;
  group.compute_s = setup.plan.compute_s;
  group.transfer_s = setup.plan.transfer_s;
  group.step_s = setup.plan.step_s;
  group.precision = to_string(setup.train.precision);
  const DataParallelSpec& team = setup.train.data_parallel;
  group.degree = team.degree;
  if (team.degree > 1) {
    group.sum = to_string(team.sum);
    group.step_bytes = step_bytes(team.degree, summed_bytes(setup));
    group.staleness = team.staleness;
  }
  return group;
}

std::uint32_t Workbench::active_trials(const std::vector<TrialForecast>& forecasts) const {
  const std::uint32_t fit = active_at_once(forecasts, planner_->host_for_trials());
  return std::max(1u, std::min(fit, config_.execute.active_trials.value_or(fit)));
}

PlanTiers Workbench::describe_tiers(const std::vector<TrialSetup>& setups,
                                    const std::vector<TrialForecast>& forecasts) const {
  PlanTiers tiers;
  std::vector<std::string> kinds;
  for (const auto& device : config_.devices) {
    const bool emulated = device.type == DeviceSpec::Type::emulated;
    tiers.emulated |= emulated;
    kinds.push_back(device.type == DeviceSpec::Type::cpu
                        ? text::cat(device.count, " × cpu, ", device.threads, " threads each")
                        : text::cat(device.count, emulated ? " × emulated, " : " × cuda, ",
                                    text::format_bytes(device.memory), ", link ",
                                    text::format_bytes(static_cast<Bytes>(device.link_bytes_per_s)), "/s"));
  }
  tiers.device = text::join(kinds, "; ");
  tiers.device_budget = config_.devices.front().memory;
  tiers.host_budget = config_.host_memory;
  tiers.disk_budget = config_.disk_capacity;
  tiers.active_trials = active_trials(forecasts);
  const Bytes beside = planner_->inputs().host_memory - planner_->host_for_trials();
  HostTogether together;
  Bytes largest = 0;
  std::uint32_t counted = 0;
  const auto epochs = epochs_of(setups);
  for (std::size_t i = 0; i < setups.size(); ++i) {
    const std::uint64_t visits = epochs[i].visits(config_.data.partitions);
    const std::uint64_t steps =
        setups[i].total_steps * visits / (std::uint64_t{setups[i].train.epochs} * config_.data.partitions);
    const TrialForecast& trial = forecasts[i];
    const std::uint64_t admissions = setups.size() > tiers.active_trials ? visits : 1;
    tiers.disk_written += trial.disk - trial.state + trial.state * visits + trial.spilled_per_step * steps +
                          trial.spilled_per_admission * admissions;
    tiers.disk_need += trial.disk;
    largest = std::max(largest, trial.state);
    if (counted < tiers.active_trials && beside + together.bytes_with(trial) <= tiers.host_budget) {
      together.add(trial);
      ++counted;
    }
  }
  tiers.host_need = std::max(beside + together.bytes(), materialising_bytes(setups));
  tiers.disk_need += largest * clones_expected(config_.search);
  tiers.disk_need += sharing_.disk_bytes();
  // A commit writes the new version before it drops the old one.
  tiers.disk_need += written_anew(forecasts, tiers.active_trials).least;
  for (const auto& prefix : sharing_.prefixes)
    for (const auto& depth : prefix.depths) tiers.disk_written += depth.disk_bytes;
  if (tiers.disk_need > tiers.disk_budget)
    fail(ExitCode::capacity, "resources.disk.capacity: the states of ", setups.size(),
         " trials and one commit need at least ", tiers.disk_need, " bytes (", text::format_bytes(tiers.disk_need),
         ") and ", tiers.disk_budget, " (", text::format_bytes(tiers.disk_budget),
         ") are granted; raise it or run fewer trials");
  return tiers;
}

}  // namespace hopyard
