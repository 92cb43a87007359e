// A layer: the smallest piece of a model that is never cut.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <span>

#include "model/batch.h"
#include "model/description.h"

namespace hopyard {

/// What a pass through a layer may depend on beside its input: the random key, and nothing else.
/// `generator` is the device's own, for layers that draw from torch: they reseed it through draws(). dropout() needs
/// none.
struct Pass {
  bool train = false;     ///< dropout on
  std::uint64_t key = 0;  ///< of (trial seed, step, micro-batch); see pass_key()
  std::uint32_t layer = 0;
  at::Generator generator;
  /// Of a pass that is recorded, to be computed again with other keys: an int64 scalar where it computes, which has the
  /// bits of the key by then. Undefined: `key` is meant.
  at::Tensor key_there;
  /// The generator, reseeded for the `draw`-th random tensor of this layer: equal bits whenever it is recomputed.
  at::Generator draws(std::uint32_t draw) const;
};
std::uint64_t pass_key(std::uint64_t trial_seed, std::uint64_t step, std::uint32_t micro_batch);

/// x with dropout by explicit keyed mask: x · mask / (1 − p). Returns x itself when p is 0 or pass.train is false.
at::Tensor dropout(const at::Tensor& x, double p, const Pass& pass, std::uint32_t draw);
/// The mask alone, of `like`'s type (float32, bfloat16 or float16), already divided by 1 − p and then rounded. A value
/// depends on its place, p and the key: not on threads, a generator or the kind of device.
at::Tensor dropout_mask(const at::Tensor& like, double p, const Pass& pass, std::uint32_t draw);

/// A torch::nn::Module whose parameters live in buffers of the engine. The constructor registers them empty
/// (declare()); bind() points them at views. One instance belongs to one trial and is used by one thread at a time.
class Layer : public torch::nn::Module {
 public:
  /// x: [batch, tokens, hidden] from the layer before (undefined for the first); returns the same for the next, or
  /// logits from the last: [batch, classes], or [batch, tokens, vocabulary] for causal-lm.
  virtual at::Tensor forward(const at::Tensor& x, const Batch& batch, const Pass& pass) = 0;

  const LayerDescription& description() const { return description_; }
  /// The parameter is not trained, from the next bind() on.
  void freeze(std::size_t parameter) { description_.parameters.at(parameter).frozen = true; }
  /// Points parameter i at views[i] (the declared shape, of the type and on the device that the layer computes in and
  /// on) as a fresh leaf: no gradient yet, and requires_grad where `with_gradients` and the parameter is not frozen.
  void bind(std::span<const at::Tensor> views, bool with_gradients);
  /// Lets go of the views, so that their memory can go.
  void unbind();
  /// The bound parameters, in the order of the description; their .grad() after a backward pass.
  const std::vector<at::Tensor>& bound() const { return bound_; }

 protected:
  /// Registers parameter `name` (its checkpoint name goes into the description). Returns its index for parameter().
  std::size_t declare(ParameterDescription parameter);
  /// The same for a parameter that a submodule (say torch::nn::Linear) has registered already and goes on using.
  std::size_t declare(ParameterDescription parameter, const at::Tensor& registered);
  const at::Tensor& parameter(std::size_t index) const { return bound_[index]; }
  LayerDescription description_;

 private:
  std::vector<at::Tensor> bound_;
};

}  // namespace hopyard
