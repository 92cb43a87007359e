// From the costs of layers to the numbers of a shard.
#include <algorithm>

#include "base/failure.h"
#include "partitioner/shard_tasks.h"

namespace hopyard {
namespace {

std::uint32_t first_trainable(const std::vector<LayerCost>& layers) {
  std::uint32_t layer = 0;
  while (layer < layers.size() && !layers[layer].trainable) ++layer;
  return layer;
}

/// What a shard that starts at `begin` reads at its boundary. The model's own input is a few token ids.
Bytes input_bytes(const std::vector<LayerCost>& layers, std::uint32_t begin) {
  return begin == 0 ? layers.front().input_bytes : layers[begin - 1].output_bytes;
}

bool owner_inside(const LayerCost& layer, std::uint32_t begin, std::uint32_t end) {
  return layer.borrowed_from && *layer.borrowed_from >= begin && *layer.borrowed_from < end;
}

Bytes own_bytes(const LayerCost& layer) { return layer.parameter_bytes - layer.frozen_bytes; }
Bytes own_copy_bytes(const LayerCost& layer) { return layer.copy_bytes - layer.frozen_copy_bytes; }

bool loads_copy_of_borrowed(const LayerCost& layer, const DeviceLimits& device) {
  return layer.borrowed_frozen ? device.frozen_copies : device.own_copies;
}

/// Gradients of tied parameters that later shards left for their owner in this one.
Bytes incoming_tied_gradients(const std::vector<LayerCost>& layers, std::uint32_t begin, std::uint32_t end) {
  Bytes sum = 0;
  for (std::size_t later = end; later < layers.size(); ++later) {
    if (layers[later].trainable && !layers[later].borrowed_frozen && owner_inside(layers[later], begin, end))
      sum += layers[later].borrowed_bytes;
  }
  return sum;
}

/// Copies that a task makes while it computes, since it loads none.
Bytes made_copy_bytes(const std::vector<LayerCost>& layers, std::uint32_t begin, std::uint32_t end,
                      const DeviceLimits& device) {
  Bytes sum = 0;
  for (std::uint32_t i = begin; i < end; ++i) {
    const LayerCost& layer = layers[i];
    if (!device.frozen_copies) sum += layer.frozen_copy_bytes;
    if (!device.own_copies) sum += own_copy_bytes(layer);
    if (!owner_inside(layer, begin, end) && !loads_copy_of_borrowed(layer, device)) sum += layer.borrowed_copy_bytes;
  }
  return sum;
}

/// The largest single layer pass; all micro-batches' outputs wait at the boundary for the store.
Bytes forward_workspace(const std::vector<LayerCost>& layers, std::uint32_t begin, std::uint32_t end,
                        const DeviceLimits& device) {
  Bytes widest = 0;
  for (std::uint32_t i = begin; i < end; ++i) {
    widest = std::max(widest, layers[i].transient_bytes + input_bytes(layers, i) + layers[i].output_bytes);
  }
  return made_copy_bytes(layers, begin, end, device) + widest +
         device.micro_batches * (input_bytes(layers, begin) + layers[end - 1].output_bytes);
}

Bytes backward_workspace(const std::vector<LayerCost>& layers, std::uint32_t begin, std::uint32_t end,
                         const DeviceLimits& device) {
  Bytes gradients = 0, saved = 0, transient = 0;
  for (std::uint32_t i = begin; i < end; ++i) {
    if (layers[i].trainable) gradients += layers[i].gradient_bytes;
    saved += layers[i].saved_bytes;
    transient = std::max(transient, layers[i].transient_bytes);
  }
  // At each boundary an activation in or the gradient that came back, and the gradient that goes on.
  const Bytes boundary = 2 * input_bytes(layers, begin) + layers[end - 1].output_bytes;
  return made_copy_bytes(layers, begin, end, device) + gradients + saved + transient + device.micro_batches * boundary;
}

void add_backward_bytes(ShardPlan& shard, const std::vector<LayerCost>& layers, const DeviceLimits& device) {
  shard.backward_load_bytes = shard.forward_load_bytes;
  for (std::uint32_t i = shard.begin; i < shard.end; ++i) {
    const LayerCost& layer = layers[i];
    if (!layer.trainable) continue;
    if (!layer.borrowed_frozen && !owner_inside(layer, shard.begin, shard.end))
      shard.store_bytes += layer.borrowed_bytes;
    if (device.update_on_host) {
      shard.store_bytes += layer.gradient_bytes;
    } else {
      shard.moment_bytes += layer.moment_bytes;
      shard.backward_load_bytes += layer.moment_bytes;
      shard.store_bytes += own_bytes(layer) + layer.moment_bytes;
      if (!device.own_copies) continue;
      shard.backward_load_bytes += own_bytes(layer) - own_copy_bytes(layer);  // the master in place of its copy
      shard.new_copy_bytes += own_copy_bytes(layer);
      shard.store_bytes += own_copy_bytes(layer);
    }
  }
  if (!device.update_on_host) shard.backward_load_bytes += incoming_tied_gradients(layers, shard.begin, shard.end);
}

double backward_seconds(const std::vector<LayerCost>& layers, const ShardPlan& shard, std::uint32_t trained_from,
                        const DeviceLimits& device) {
  double seconds = shard.forward_s;
  for (std::uint32_t i = shard.begin; i < shard.end; ++i) {
    if (i >= trained_from) seconds += layers[i].backward_s;
    if (layers[i].trainable && !device.update_on_host) seconds += layers[i].update_s;
  }
  return seconds;
}

}  // namespace

ShardPlan make_shard(const std::vector<LayerCost>& layers, std::uint32_t begin, std::uint32_t end,
                     const DeviceLimits& device) {
  require(begin < end && end <= layers.size(), "a shard of layers ", begin, " to ", end, " of ", layers.size());
  ShardPlan shard;
  shard.begin = begin;
  shard.end = end;
  for (std::uint32_t i = begin; i < end; ++i) {
    const LayerCost& layer = layers[i];
    const Bytes frozen = device.frozen_copies ? layer.frozen_copy_bytes : layer.frozen_bytes;
    shard.forward_load_bytes += frozen + (device.own_copies ? own_copy_bytes(layer) : own_bytes(layer));
    shard.frozen_bytes += frozen;
    if (!owner_inside(layer, begin, end))
      shard.forward_load_bytes +=
          loads_copy_of_borrowed(layer, device) ? layer.borrowed_copy_bytes : layer.borrowed_bytes;
    shard.forward_s += layers[i].forward_s;
  }
  shard.forward_workspace = forward_workspace(layers, begin, end, device);
  const std::uint32_t trained_from = first_trainable(layers);
  shard.backward = trained_from < end;
  if (!shard.backward) return shard;
  add_backward_bytes(shard, layers, device);
  shard.backward_workspace = backward_workspace(layers, begin, end, device);
  shard.backward_s = backward_seconds(layers, shard, trained_from, device);
  if (device.update_on_host)
    for (std::uint32_t i = begin; i < end; ++i) shard.host_update_s += layers[i].trainable ? layers[i].update_s : 0;
  return shard;
}

Bytes largest_workspace(const PartitionPlan& plan) {
  Bytes largest = 0;
  for (const auto& shard : plan.shards)
    largest = std::max({largest, shard.forward_workspace, shard.backward_workspace});
  return largest;
}

bool has_link(const DeviceLimits& device) { return device.load_bytes_per_s > 0 && device.store_bytes_per_s > 0; }

Bytes shard_need(const ShardPlan& shard, const DeviceLimits& device) {
  const Bytes forward = shard.forward_workspace + (has_link(device) ? shard.forward_load_bytes : 0);
  const Bytes backward =
      shard.backward_workspace + (has_link(device) ? shard.backward_load_bytes + shard.new_copy_bytes : 0);
  return std::max(forward, backward);
}

bool fits(Bytes needed, const DeviceLimits& device) {
  return needed <= device.memory || (device.memory == 0 && !has_link(device));
}

std::optional<PartitionPlan> resident_plan(const std::vector<LayerCost>& layers, const DeviceLimits& device) {
  if (device.host_always) return std::nullopt;
  DeviceLimits whole = device;
  whole.update_on_host = whole.own_copies = false;  // what stays on the device is updated there
  const ShardPlan shard = make_shard(layers, 0, static_cast<std::uint32_t>(layers.size()), whole);
  const Bytes needed = shard_need(shard, whole);
  if (!fits(needed, device)) return std::nullopt;
  PartitionPlan plan;
  plan.shards = {shard};
  plan.resident = true;
  plan.compute_s = plan.step_s = shard.backward ? shard.backward_s : shard.forward_s;
  plan.peak_bytes = needed;
  return plan;
}

std::optional<DoesNotFit> first_misfit(const std::vector<LayerCost>& layers, const DeviceLimits& device) {
  for (std::uint32_t i = 0; i < layers.size(); ++i) {
    const Bytes needed = shard_need(make_shard(layers, i, i + 1, device), device);
    if (!fits(needed, device)) return DoesNotFit{i, needed, device.memory};
  }
  return std::nullopt;
}

}  // namespace hopyard
