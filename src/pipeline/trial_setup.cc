#include "pipeline/trial_setup.h"

#include <algorithm>

#include "pipeline/step_program.h"
#include "spill/host_tier.h"

namespace hopyard {

namespace {

const LayerDescription& layer_of(const TrialSetup& setup, std::uint32_t layer) {
  return setup.source->description().layers[layer];
}

/// What a layer takes of the window for a task of this kind.
Bytes window_bytes(const TrialSetup& setup, std::uint32_t layer, TaskKind kind) {
  const LayerLayout layout = layout_of(layer_of(setup, layer));
  if (!is_trainable(setup, layer)) return setup.frozen_in_window ? HostBuffer::rounded(layout.bytes) : 0;
  Bytes bytes = HostBuffer::rounded(layout.bytes);
  const TaskRef task{kind, 0};
  if (updates(setup, task)) bytes += HostBuffer::rounded(moment_bytes(setup, layout));
  if (touches_gradients(setup, task)) bytes += HostBuffer::rounded(layout.bytes);
  return bytes;
}

}  // namespace

bool is_trainable(const TrialSetup& setup, std::uint32_t layer) { return layer >= setup.source->frozen_layers(); }

std::uint32_t end_layer(const TrialSetup& setup) {
  return setup.materialise_to.value_or(static_cast<std::uint32_t>(setup.source->description().layers.size()));
}

bool uses_layer(const TrialSetup& setup, std::uint32_t layer) {
  if (layer >= end_layer(setup)) return false;
  if (layer >= setup.first_layer) return true;
  for (std::uint32_t l = setup.first_layer; l < end_layer(setup); ++l)
    for (const auto& parameter : layer_of(setup, l).parameters)
      if (parameter.tied_to && parameter.tied_to->layer == layer) return true;
  return false;
}

std::vector<std::uint32_t> shared_layers(const TrialSetup& setup) {
  std::vector<std::uint32_t> layers;
  if (setup.frozen_in_window) return layers;
  for (std::uint32_t l = 0; l < setup.source->frozen_layers(); ++l)
    if (uses_layer(setup, l)) layers.push_back(l);
  return layers;
}

Bytes shared_layer_bytes(const TrialSetup& setup) {
  Bytes bytes = 0;
  for (const auto l : shared_layers(setup))
    bytes += HostBuffer::rounded(layout_of(layer_of(setup, l)).bytes);
  return bytes;
}

std::vector<LayerCost> computed_costs(const TrialSetup& setup) {
  const std::uint32_t first = setup.first_layer;
  std::vector<LayerCost> costs(setup.costs.begin() + first, setup.costs.begin() + end_layer(setup));
  if (first > 0) costs.front().input_bytes = setup.costs[first - 1].output_bytes;
  for (auto& cost : costs)
    if (cost.borrowed_from)
      cost.borrowed_from = *cost.borrowed_from >= first ? std::optional(*cost.borrowed_from - first) : std::nullopt;
  return costs;
}

PartitionPlan in_whole_model(const TrialSetup& setup, PartitionPlan plan) {
  for (auto& shard : plan.shards) {
    shard.begin += setup.first_layer;
    shard.end += setup.first_layer;
  }
  return plan;
}

PartitionPlan plan_cuts(const TrialSetup& setup, const std::vector<std::uint32_t>& cuts) {
  std::vector<std::uint32_t> inside;
  for (const auto cut : cuts)
    if (cut > setup.first_layer && cut < end_layer(setup)) inside.push_back(cut - setup.first_layer);
  return in_whole_model(setup, evaluate_cuts(computed_costs(setup), inside, setup.limits));
}

bool keeps_gradients(const TrialSetup& setup) {
  return setup.train.clip_norm.has_value() && setup.plan.shards.size() > 1;
}

Bytes moment_bytes(const TrialSetup& setup, const LayerLayout& layout) {
  return layout.bytes * static_cast<Bytes>(moment_count(setup.train.optimizer));
}

Bytes boundary_bytes(const TrialSetup& setup, std::uint32_t layer) {
  return micro_batches_of(setup.train) *
         align_up(layer_of(setup, layer).output_bytes_per_row * setup.train.micro_batch_size);
}

Bytes largest_boundary_bytes(const TrialSetup& setup) {
  Bytes largest = 0;
  for (std::uint32_t l = setup.first_layer; l + 1 < end_layer(setup); ++l)
    largest = std::max(largest, boundary_bytes(setup, l));
  return largest;
}

BoundarySizes boundary_sizes(const TrialSetup& setup) {
  BoundarySizes sizes;
  const auto& shards = setup.plan.shards;
  if (shards.size() == 1) return sizes;
  for (std::size_t s = 0; s + 1 < shards.size(); ++s)
    sizes.activations.push_back(boundary_bytes(setup, shards[s].end - 1));
  if (setup.materialise_to) return sizes;
  sizes.gradient = largest_boundary_bytes(setup);
  if (setup.valid_rows > 0) sizes.evaluation = sizes.gradient;
  return sizes;
}

Bytes trial_state_bytes(const TrialSetup& setup) {
  Bytes bytes = 0;
  for (std::uint32_t l = 0; l < end_layer(setup); ++l) {
    if (!uses_layer(setup, l)) continue;
    const LayerLayout layout = layout_of(layer_of(setup, l));
    if (!is_trainable(setup, l)) {
      bytes += setup.frozen_in_window ? HostBuffer::rounded(layout.bytes) : 0;
      continue;
    }
    bytes += HostBuffer::rounded(layout.bytes) + HostBuffer::rounded(moment_bytes(setup, layout));
    if (keeps_gradients(setup)) bytes += HostBuffer::rounded(layout.bytes);
  }
  return bytes;
}

Bytes trial_window_min(const TrialSetup& setup) {
  Bytes least = 0;
  for (const auto& shard : setup.plan.shards)
    for (const TaskKind kind : {TaskKind::backward, TaskKind::update}) {
      Bytes bytes = 0;
      for (std::uint32_t l = shard.begin; l < shard.end; ++l) {
        bytes += window_bytes(setup, l, kind);
        for (const auto& parameter : layer_of(setup, l).parameters)
          if (parameter.tied_to && !shard.holds(parameter.tied_to->layer))
            bytes += window_bytes(setup, parameter.tied_to->layer, TaskKind::forward);
      }
      least = std::max(least, bytes);
    }
  return least;
}

Bytes trial_overhead_bytes(const TrialSetup& setup) {
  const BoundarySizes sizes = boundary_sizes(setup);
  Bytes bytes = 0;
  for (const Bytes activation : sizes.activations) bytes += HostBuffer::rounded(activation);
  bytes += 2 * (HostBuffer::rounded(sizes.gradient) + HostBuffer::rounded(sizes.evaluation));
  for (std::uint32_t l = setup.first_layer; l < end_layer(setup); ++l)
    for (const auto& parameter : layer_of(setup, l).parameters)
      if (parameter.tied_to && is_trainable(setup, parameter.tied_to->layer))
        bytes += HostBuffer::rounded(static_cast<Bytes>(parameter.elements()) * sizeof(float));
  return bytes;
}

}  // namespace hopyard
