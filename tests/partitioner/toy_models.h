// Layer costs that tests share.
#pragma once

#include <vector>

#include "base/rng.h"
#include "base/text.h"
#include "partitioner/partitioner.h"

namespace hopyard {

/// One layer of `parameters` float32 parameters under AdamW.
inline LayerCost adamw_layer(const std::string& name, double parameters, double forward_s) {
  LayerCost layer;
  layer.name = name;
  layer.parameter_bytes = static_cast<Bytes>(4 * parameters);
  layer.moment_bytes = 2 * layer.parameter_bytes;
  layer.gradient_bytes = layer.parameter_bytes;
  layer.output_bytes = 32 * 32 * 384 * 4;
  layer.saved_bytes = 20 * MiB;
  layer.transient_bytes = 4 * MiB;
  layer.forward_s = forward_s;
  layer.backward_s = 2 * forward_s;
  layer.update_s = parameters / 1e9;
  return layer;
}

/// MiniLM: embeddings, six encoder layers, head.
inline std::vector<LayerCost> minilm() {
  std::vector<LayerCost> layers{adamw_layer("embeddings", 11.9e6, 0.01)};
  for (int i = 0; i < 6; ++i) layers.push_back(adamw_layer(text::cat("encoder.", i), 1.77e6, 0.03));
  layers.push_back(adamw_layer("head", 0.15e6, 0.001));
  layers[0].saved_bytes = 4 * MiB;
  layers.back().saved_bytes = 1 * MiB;
  layers.back().output_bytes = 32 * 16 * 4;
  return layers;
}

inline DeviceLimits emulated(Bytes memory, double link_bytes_per_s) {
  DeviceLimits device;
  device.memory = memory;
  device.load_bytes_per_s = device.store_bytes_per_s = link_bytes_per_s;
  device.latency_s = 10e-6;
  return device;
}

/// A random model of 1 … `layers_max` layers, some with frozen first layers, tied layers or wide boundaries.
inline std::vector<LayerCost> random_model(KeyedStream& random, std::uint32_t layers_max) {
  std::vector<LayerCost> layers(1 + random.below(layers_max));
  const std::uint64_t frozen = random.below(3) == 0 ? random.below(layers.size() + 1) : 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    LayerCost& layer = layers[i];
    layer.name = text::cat("layer.", i);
    layer.trainable = i >= frozen;
    layer.parameter_bytes = 64 * (1 + random.below(200));
    layer.moment_bytes = layer.trainable ? random.below(3) * layer.parameter_bytes : 0;
    layer.gradient_bytes = layer.trainable ? layer.parameter_bytes : 0;
    layer.output_bytes = random.below(2000);
    layer.saved_bytes = random.below(6000);
    layer.transient_bytes = random.below(3000);
    layer.forward_s = random.uniform();
    layer.backward_s = 2 * random.uniform();
    layer.update_s = 0.2 * random.uniform();
  }
  if (layers.size() > 2 && random.below(4) == 0) {
    layers.back().borrowed_bytes = layers.front().parameter_bytes;
    layers.back().borrowed_from = 0;
  }
  return layers;
}

/// From devices that hold one layer at a time to devices that hold nearly everything; some without a link.
inline DeviceLimits random_device(KeyedStream& random) {
  DeviceLimits device;
  device.memory = 20'000 + random.below(150'000);
  if (random.below(10) > 0) {
    device.load_bytes_per_s = 1e3 + 1e5 * random.uniform();
    device.store_bytes_per_s = 1e3 + 1e5 * random.uniform();
    device.latency_s = 0.01 * random.uniform();
  }
  device.double_buffer = random.below(5) > 0;
  device.micro_batches = 1 + static_cast<std::uint32_t>(random.below(3));
  device.update_on_host = random.below(4) == 0;
  return device;
}

}  // namespace hopyard
