// A model trained whole and resident by a plain loop: what every cut, tier and schedule must equal bit for bit.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "formats/digest.h"
#include "model/model.h"
#include "optim/optimizer.h"
#include "pipeline/train_spec.h"

namespace hopyard::fakes {

/// Zeroed bytes aligned as flat buffers are.
class FlatBuffer {
 public:
  explicit FlatBuffer(Bytes bytes);
  std::span<std::byte> bytes() const { return {data_.get(), bytes_}; }
  at::Tensor view(Bytes offset, const std::vector<std::int64_t>& shape) const;

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  Bytes bytes_;
  std::unique_ptr<std::byte, Free> data_;
};

class WholeModel {
 public:
  /// Keeps a reference to `source`.
  WholeModel(const ModelSource& source, std::uint64_t trial_seed, const OptimizerSpec& optimizer,
             Precision precision = Precision::fp32, const LossScaleSpec& loss_scale = {});

  /// One optimizer step over a batch given as its micro-batches; `step` from 0. Returns the loss: the sum over counted
  /// items ÷ their number in the whole batch. In fp16 it may skip the step, as torch.amp's GradScaler has it. Pass keys
  /// are pass_key(trial seed, step, micro-batch).
  double train_step(std::span<const Batch> micro_batches, double lr, std::optional<double> clip, std::uint64_t step);

  std::uint32_t skipped_steps() const { return skipped_; }

  /// Without dropout and without a graph.
  at::Tensor logits(const Batch& batch);

  /// All layers in order. With `train`, dropout is on, as freezing allows.
  at::Tensor forward(const Batch& batch, bool train, std::uint64_t key);

  Digest digest() const;

  /// A part of a layer's parameters as its flat buffer.
  std::span<std::byte> flat(std::uint32_t layer, Part part = Part::own) const { return of(layer, part).flat.bytes(); }
  std::span<std::byte> flat_moments(std::uint32_t layer, int moment) const { return moments_[layer][moment].bytes(); }
  Layer& module(std::uint32_t layer) { return *modules_[layer]; }
  /// Sums the gradients of tied uses into their owners, in layer order; train_step() does it by itself.
  void add_tied_gradients();
  /// Of the last step, in float32; undefined for a frozen parameter.
  at::Tensor& gradient(std::uint32_t layer, std::size_t parameter);

 private:
  struct Parameters {
    explicit Parameters(LayerLayout places) : layout(std::move(places)), flat(layout.bytes) {}
    LayerLayout layout;
    FlatBuffer flat;
  };
  const std::vector<LayerDescription>& layers() const { return source_.description().layers; }
  const Parameters& of(std::uint32_t layer, Part part) const { return parts_[static_cast<std::size_t>(part)][layer]; }
  std::vector<at::Tensor> views(std::uint32_t layer) const;
  /// Points the modules at the parameters, or at what they are rounded to; gradients begin anew.
  void bind();
  void sum_gradients();
  /// Calls f(layer, parameter) for each trainable parameter in canonical order, tied ones at their owner.
  template <class F>
  void for_each_trainable(F&& f) const;
  /// In fp16: gradients become those of the loss itself, and the scale follows. False when they are not all finite.
  bool unscale_gradients();
  void clip_gradients(double max_norm);
  void apply_updates(double lr, std::uint64_t step);

  const ModelSource& source_;
  const std::uint64_t seed_;
  const OptimizerSpec optimizer_;
  const Precision precision_;
  const LossScaleSpec loss_scale_;
  at::Tensor scale_, good_steps_;  // GradScaler's
  std::uint64_t updates_ = 0;
  std::uint32_t skipped_ = 0;
  at::Generator generator_;
  std::vector<Parameters> parts_[2];  // own, shared
  std::vector<std::vector<FlatBuffer>> moments_;
  std::vector<std::shared_ptr<Layer>> modules_;
  std::vector<std::vector<at::Tensor>> sums_;  // of gradients over micro-batches, where they are not float32
};

}  // namespace hopyard::fakes
