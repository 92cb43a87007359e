// Gradients as they come out of the backward of a batch's last micro-batch, layer by layer.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "pipeline/shard_compute.h"

namespace hopyard {

/// Who hears of them. On the thread that computes; what is thrown ends the backward.
class LastGradients {
 public:
  virtual ~LastGradients() = default;
  /// Of all micro-batches that are computed here, before any layer(); of a shard with the head.
  virtual void losses(std::span<const MicroBatchLoss> losses) = 0;
  /// Nothing changes any more in the gradients of the shard's layer at `place`: a piece for each micro-batch where they
  /// are kept apart, and otherwise one. At most once in a backward; not of a layer with a parameter that gets none.
  virtual void layer(std::size_t place, std::span<const LayerGradients> pieces) = 0;
};

/// While it lives, calls `done` with the place of each of these bound layers as soon as a backward has accumulated the
/// gradients of all its parameters; at once for layers that have none. For one backward, on the CPU.
class LayersDone {
 public:
  LayersDone(std::span<LoadedLayer> layers, std::function<void(std::size_t place)> done);
  ~LayersDone();
  LayersDone(const LayersDone&) = delete;

 private:
  class Hook;
  void each_parameter(const std::function<void(std::size_t place, const at::Tensor& parameter)>& visit) const;

  const std::span<LoadedLayer> layers_;
  const std::function<void(std::size_t)> done_;
  std::vector<std::size_t> left_;  ///< of each layer: parameters without their gradient
};

}  // namespace hopyard
