#include "pipeline/trial_setup.h"

#include <algorithm>

#include "pipeline/host_copies.h"
#include "pipeline/step_exchange.h"
#include "pipeline/step_program.h"
#include "spill/host_tier.h"

namespace hopyard {

namespace {

const LayerDescription& layer_of(const TrialSetup& setup, std::uint32_t layer) {
  return setup.source->description().layers[layer];
}

Bytes tied_bytes(const ParameterDescription& parameter) {
  return static_cast<Bytes>(parameter.elements()) * sizeof(float);
}

Bytes own_copy_bytes(const TrialSetup& setup, std::uint32_t layer) {
  return keeps_copies(setup) ? HostBuffer::rounded(copy_bytes(setup, layer, Part::own)) : 0;
}

/// What a layer's shared part takes of the window to compute with.
Bytes frozen_window_bytes(const TrialSetup& setup, std::uint32_t layer) {
  if (!has_frozen_blob(setup, layer)) return 0;
  return HostBuffer::rounded(setup.limits.frozen_copies ? copy_bytes(setup, layer, Part::shared)
                                                        : layout_of(setup, layer, Part::shared).bytes);
}

/// What making copies of a layer takes of the window.
Bytes copying_bytes(const TrialSetup& setup, std::uint32_t layer) {
  Bytes bytes = 0;
  if (keeps_copies(setup))
    bytes = own_copy_bytes(setup, layer) + HostBuffer::rounded(layout_of(setup, layer, Part::own).bytes);
  if (setup.limits.frozen_copies && has_frozen_blob(setup, layer))
    bytes = std::max(
        bytes, frozen_window_bytes(setup, layer) + HostBuffer::rounded(layout_of(setup, layer, Part::shared).bytes));
  return bytes;
}

/// Of a layer's own part, or of a use of a tied parameter.
Bytes largest_part(const TrialSetup& setup) {
  Bytes largest = 0;
  for (std::uint32_t l = setup.first_layer; l < end_layer(setup); ++l) {
    largest = std::max(largest, layout_of(setup, l, Part::own).bytes);
    for (const auto& parameter : layer_of(setup, l).parameters)
      if (parameter.tied_to && !parameter.frozen) largest = std::max(largest, tied_bytes(parameter));
  }
  return largest;
}

}  // namespace

std::uint32_t judged_rows(const TrialSetup& setup) {
  return setup.valid_partitions ? setup.valid_partitions->rows() : setup.valid_rows;
}

LayerLayout layout_of(const TrialSetup& setup, std::uint32_t layer, Part part) {
  return layout_of(layer_of(setup, layer), part);
}

bool is_trainable(const TrialSetup& setup, std::uint32_t layer) { return layer_of(setup, layer).trains(); }

bool has_frozen_blob(const TrialSetup& setup, std::uint32_t layer) {
  return setup.frozen_in_window && layout_of(setup, layer, Part::shared).bytes > 0;
}

std::uint32_t frozen_blob(const TrialSetup& setup, std::uint32_t layer) {
  const auto layers = static_cast<std::uint32_t>(setup.source->description().layers.size());
  return is_trainable(setup, layer) ? 3 * layers + layer : parameters_blob(layer);
}

std::uint32_t copies_blob(const TrialSetup& setup, std::uint32_t layer, Part part) {
  const auto layers = static_cast<std::uint32_t>(setup.source->description().layers.size());
  return (part == Part::own ? 4 : 5) * layers + layer;
}

std::uint32_t loss_scale_blob(const TrialSetup& setup) {
  return 6 * static_cast<std::uint32_t>(setup.source->description().layers.size());
}

std::uint32_t blob_count(const TrialSetup& setup) { return loss_scale_blob(setup) + 1; }

Bytes copy_bytes(const TrialSetup& setup, std::uint32_t layer, Part part) {
  return packed_bytes(layout_of(setup, layer, part).bytes);
}

bool keeps_copies(const TrialSetup& setup) {
  const bool stays = setup.plan.shards.size() == 1 && !keeps_gradients(setup);
  return setup.limits.own_copies && !stays && !is_served(setup.train);
}

Bytes blob_bytes(const TrialSetup& setup, std::uint32_t blob) {
  const auto layers = static_cast<std::uint32_t>(setup.source->description().layers.size());
  if (blob == loss_scale_blob(setup)) return has_loss_scale(setup) ? kLossScaleBytes : 0;
  if (blob >= 5 * layers) return copy_bytes(setup, blob - 5 * layers, Part::shared);
  if (blob >= 4 * layers) return copy_bytes(setup, blob - 4 * layers, Part::own);
  if (blob >= 3 * layers) return layout_of(setup, blob - 3 * layers, Part::shared).bytes;
  const std::uint32_t layer = blob / 3;
  if (!is_trainable(setup, layer)) return layout_of(setup, layer, Part::shared).bytes;
  const LayerLayout own = layout_of(setup, layer, Part::own);
  if (blob == gradients_blob(layer)) return gradient_bytes(setup, own);
  return blob == moments_blob(layer) ? moment_bytes(setup, own) : own.bytes;
}

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
  for (std::uint32_t l = 0; l < end_layer(setup); ++l)
    if (uses_layer(setup, l) && layout_of(setup, l, Part::shared).bytes > 0) layers.push_back(l);
  return layers;
}

Bytes shared_layer_bytes(const TrialSetup& setup) {
  Bytes bytes = 0, largest = 0;
  for (const auto l : shared_layers(setup)) {
    const Bytes whole = HostBuffer::rounded(layout_of(setup, l, Part::shared).bytes);
    bytes += setup.limits.frozen_copies ? HostBuffer::rounded(copy_bytes(setup, l, Part::shared)) : whole;
    if (setup.limits.frozen_copies) largest = std::max(largest, whole);
  }
  return bytes + largest;
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

bool exchanges_gradients(const TrialSetup& setup) {
  return setup.train.data_parallel.degree > 1 && !setup.materialise_to;
}

bool has_loss_scale(const TrialSetup& setup) { return scales_loss(setup.train) && !setup.materialise_to; }

bool keeps_gradients(const TrialSetup& setup) {
  if (setup.materialise_to) return false;
  return exchanges_gradients(setup) || updates_on_host(setup.train) ||
         (needs_whole_gradient(setup.train) && setup.plan.shards.size() > 1);
}

Bytes gradient_bytes(const TrialSetup& setup, const LayerLayout& own) {
  return own.bytes * gradient_pieces(setup.train);
}

Bytes summed_bytes(const TrialSetup& setup) {
  Bytes bytes = 0;
  for (std::uint32_t l = setup.first_layer; l < end_layer(setup); ++l) {
    if (is_trainable(setup, l)) bytes += layout_of(setup, l, Part::own).bytes;
    if (is_served(setup.train)) continue;
    for (const auto& parameter : layer_of(setup, l).parameters)
      if (parameter.tied_to && !parameter.frozen) bytes += static_cast<Bytes>(parameter.elements()) * sizeof(float);
  }
  return bytes;
}

Bytes exchange_staging_bytes(const TrialSetup& setup) {
  if (!exchanges_gradients(setup) || is_served(setup.train)) return 0;
  return std::min(largest_part(setup), kExchangeStagingBytes);
}

ServedBytes served_bytes(const TrialSetup& setup) {
  if (!exchanges_gradients(setup) || !is_served(setup.train)) return {};
  const auto moments = static_cast<Bytes>(moment_count(setup.train.optimizer));
  ServedBytes bytes;
  bytes.parameters = summed_bytes(setup);
  bytes.moments = bytes.parameters * moments;
  bytes.gradients = bytes.parameters * (setup.train.data_parallel.staleness + 1);
  bytes.staging = std::min(largest_part(setup) * std::max<Bytes>(moments, 1), kExchangeStagingBytes);
  bytes.all =
      bytes.parameters + bytes.moments + bytes.gradients + (setup.train.data_parallel.degree - 1) * bytes.staging;
  return bytes;
}

double learning_rate_of(const TrialSetup& setup, std::uint64_t step, std::uint32_t layer) {
  const TrainSpec& train = setup.train;
  const double lr = learning_rate(train.schedule, train.optimizer.lr, step, setup.total_steps);
  return layer_rate(train.optimizer, lr, layer, static_cast<std::uint32_t>(setup.source->description().layers.size()));
}

Bytes moment_bytes(const TrialSetup& setup, const LayerLayout& own) {
  return own.bytes * static_cast<Bytes>(moment_count(setup.train.optimizer));
}

Bytes boundary_bytes(const TrialSetup& setup, std::uint32_t layer) {
  return micro_batches_of(setup.train) *
         align_up(row_bytes(layer_of(setup, layer), setup.train.precision) * setup.train.micro_batch_size);
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

Bytes committed_bytes(const TrialSetup& setup) {
  Bytes bytes = has_loss_scale(setup) ? HostBuffer::rounded(kLossScaleBytes) : 0;
  for (std::uint32_t l = 0; l < end_layer(setup); ++l) {
    if (!uses_layer(setup, l)) continue;
    const LayerLayout own = layout_of(setup, l, Part::own);
    bytes += HostBuffer::rounded(own.bytes) + HostBuffer::rounded(moment_bytes(setup, own));
    if (has_frozen_blob(setup, l)) bytes += HostBuffer::rounded(layout_of(setup, l, Part::shared).bytes);
  }
  return bytes;
}

Bytes derived_bytes(const TrialSetup& setup) {
  Bytes bytes = 0;
  for (std::uint32_t l = 0; l < end_layer(setup); ++l) {
    if (!uses_layer(setup, l)) continue;
    bytes += own_copy_bytes(setup, l);
    if (setup.limits.frozen_copies) bytes += frozen_window_bytes(setup, l);
  }
  return bytes;
}

Bytes trial_state_bytes(const TrialSetup& setup) {
  Bytes bytes = committed_bytes(setup) + derived_bytes(setup);
  if (!keeps_gradients(setup)) return bytes;
  for (std::uint32_t l = 0; l < end_layer(setup); ++l)
    if (uses_layer(setup, l)) bytes += HostBuffer::rounded(gradient_bytes(setup, layout_of(setup, l, Part::own)));
  return bytes;
}

Bytes trial_disk_bytes(const TrialSetup& setup) {
  const Bytes all = trial_state_bytes(setup);
  return setup.window < all ? all : committed_bytes(setup);
}

Bytes trial_window_min(const TrialSetup& setup) {
  Bytes least = 0;
  for (std::uint32_t l = 0; l < end_layer(setup); ++l)
    if (uses_layer(setup, l)) least = std::max(least, copying_bytes(setup, l));
  for (std::uint32_t s = 0; s < setup.plan.shards.size(); ++s)
    for (const TaskKind kind : {TaskKind::forward, TaskKind::backward, TaskKind::update}) {
      Bytes bytes = 0;
      for (const auto blob : blobs_needed(setup, {kind, s})) bytes += HostBuffer::rounded(blob_bytes(setup, blob));
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
      if (parameter.tied_to && !parameter.frozen)
        bytes += HostBuffer::rounded(tied_bytes(parameter) * gradient_pieces(setup.train));
  if (const Bytes served = served_bytes(setup).all; served > 0) bytes += HostBuffer::rounded(served);
  return bytes + HostBuffer::rounded(exchange_staging_bytes(setup));
}

}  // namespace hopyard
