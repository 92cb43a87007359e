#include "fakes/whole_model.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "model/layer.h"

namespace hopyard::fakes {

FlatBuffer::FlatBuffer(Bytes bytes)
    : bytes_(bytes), data_(static_cast<std::byte*>(std::aligned_alloc(kTensorAlignment, align_up(bytes + 1)))) {
  std::fill(data_.get(), data_.get() + bytes_, std::byte{0});
}

at::Tensor FlatBuffer::view(Bytes offset, const std::vector<std::int64_t>& shape) const {
  return at::from_blob(data_.get() + offset, shape, at::kFloat);
}

WholeModel::WholeModel(const ModelSource& source, std::uint64_t trial_seed, const OptimizerSpec& optimizer,
                       Precision precision, const LossScaleSpec& loss_scale)
    : source_(source),
      seed_(trial_seed),
      optimizer_(optimizer),
      precision_(precision),
      loss_scale_(loss_scale),
      scale_(at::full({1}, loss_scale.initial, at::kFloat)),
      good_steps_(at::zeros({1}, at::kInt)),
      generator_(at::detail::createCPUGenerator()) {
  for (std::uint32_t i = 0; i < layers().size(); ++i) {
    for (const Part part : {Part::own, Part::shared}) {
      Parameters& parameters = parts_[static_cast<std::size_t>(part)].emplace_back(layout_of(layers()[i], part));
      source.initialise(i, part, trial_seed, parameters.flat.bytes());
    }
    moments_.emplace_back();
    for (int m = 0; m < moment_count(optimizer); ++m) moments_[i].emplace_back(flat(i).size());
  }
  modules_ = source.make_layers();
  bind();
}

void WholeModel::bind() {
  sums_.assign(modules_.size(), {});
  for (std::uint32_t i = 0; i < modules_.size(); ++i) {
    auto values = views(i);
    if (computes_in_half(precision_))
      for (at::Tensor& value : values) value = value.to(precision_ == Precision::bf16 ? at::kBFloat16 : at::kHalf);
    modules_[i]->bind(values, true);
    sums_[i].resize(values.size());
  }
}

void WholeModel::sum_gradients() {
  if (!computes_in_half(precision_)) return;
  for (std::uint32_t i = 0; i < modules_.size(); ++i)
    for (std::size_t p = 0; p < sums_[i].size(); ++p) {
      at::Tensor parameter = modules_[i]->bound()[p];
      if (!parameter.grad().defined()) continue;
      const at::Tensor exact = parameter.grad().to(at::kFloat);
      sums_[i][p] = sums_[i][p].defined() ? sums_[i][p].add(exact) : exact;
      parameter.mutable_grad().reset();
    }
}

at::Tensor& WholeModel::gradient(std::uint32_t layer, std::size_t parameter) {
  at::Tensor bound = modules_[layer]->bound()[parameter];
  return computes_in_half(precision_) ? sums_[layer][parameter] : bound.mutable_grad();
}

std::vector<at::Tensor> WholeModel::views(std::uint32_t layer) const {
  std::vector<at::Tensor> views;
  for (std::size_t p = 0; p < layers()[layer].parameters.size(); ++p) {
    const ParameterDescription& parameter = layers()[layer].parameters[p];
    const auto owner = parameter.tied_to.value_or(ParameterDescription::Owner{layer, static_cast<std::uint32_t>(p)});
    const Parameters& from = of(owner.layer, parameter.part());
    views.push_back(from.flat.view(from.layout.places[owner.parameter].offset, parameter.shape));
  }
  return views;
}

template <class F>
void WholeModel::for_each_trainable(F&& f) const {
  for (std::uint32_t i = 0; i < layers().size(); ++i)
    for (std::size_t p = 0; p < layers()[i].parameters.size(); ++p)
      if (!layers()[i].parameters[p].tied_to && !layers()[i].parameters[p].frozen) f(i, p);
}

double WholeModel::train_step(std::span<const Batch> micro_batches, double lr, std::optional<double> clip,
                              std::uint64_t step) {
  std::int64_t items = 0;
  for (const Batch& batch : micro_batches) items += source_.counted_items(batch.inputs.size(0));
  bind();
  double loss = 0;
  for (std::uint32_t m = 0; m < micro_batches.size(); ++m) {
    const LossSum sum = source_.loss(forward(micro_batches[m], true, pass_key(seed_, step, m)), micro_batches[m]);
    const at::Tensor mean = at::full({}, 1.0 / static_cast<double>(items), at::kFloat);
    sum.sum.backward(precision_ == Precision::fp16 ? mean * scale_.squeeze() : mean);
    sum_gradients();
    loss += sum.sum.item<double>();
  }
  add_tied_gradients();
  const bool scaled = precision_ == Precision::fp16;
  if (scaled && !unscale_gradients()) return loss / static_cast<double>(items);
  if (clip) clip_gradients(*clip);
  apply_updates(lr, scaled ? ++updates_ : step + 1);
  return loss / static_cast<double>(items);
}

at::Tensor WholeModel::logits(const Batch& batch) {
  const at::NoGradGuard no_grad;
  if (computes_in_half(precision_)) bind();
  return forward(batch, false, 0);
}

at::Tensor WholeModel::forward(const Batch& batch, bool train, std::uint64_t key) {
  at::Tensor x;
  for (std::uint32_t i = 0; i < modules_.size(); ++i) {
    Pass pass{train && (layers()[i].trains() || source_.spec().frozen_dropout), key, i, generator_};
    x = modules_[i]->forward(x, batch, pass);
  }
  return x;
}

Digest WholeModel::digest() const {
  std::vector<ParameterDigest> parts;
  for (std::uint32_t i = 0; i < layers().size(); ++i)
    for (std::size_t p = 0; p < layers()[i].parameters.size(); ++p) {
      const ParameterDescription& parameter = layers()[i].parameters[p];
      if (parameter.tied_to) continue;
      const auto [offset, bytes] = of(i, parameter.part()).layout.places[p];
      parts.push_back(
          {parameter.name, "F32", parameter.shape, digest_bytes(flat(i, parameter.part()).subspan(offset, bytes))});
    }
  return digest_parameters(std::move(parts));
}

void WholeModel::add_tied_gradients() {
  for (std::uint32_t i = 0; i < modules_.size(); ++i)
    for (std::size_t p = 0; p < layers()[i].parameters.size(); ++p)
      if (const auto& owner = layers()[i].parameters[p].tied_to; owner && !layers()[i].parameters[p].frozen)
        gradient(owner->layer, owner->parameter).add_(gradient(i, p));
}

bool WholeModel::unscale_gradients() {
  std::vector<at::Tensor> all;
  for_each_trainable([&](std::uint32_t i, std::size_t p) { all.push_back(gradient(i, p)); });
  at::Tensor found_inf = at::zeros({1}, at::kFloat);
  at::_amp_foreach_non_finite_check_and_unscale_(all, found_inf, scale_.to(at::kDouble).reciprocal().to(at::kFloat));
  at::_amp_update_scale_(scale_, good_steps_, found_inf, 2, 0.5, loss_scale_.growth_steps);
  if (found_inf.item<float>() == 0) return true;
  ++skipped_;
  return false;
}

void WholeModel::clip_gradients(double max_norm) {
  double squares = 0;
  for_each_trainable([&](std::uint32_t i, std::size_t p) { squares += squared_norm(gradient(i, p)); });
  const double factor = clip_factor(std::sqrt(squares), max_norm);
  for_each_trainable([&](std::uint32_t i, std::size_t p) { gradient(i, p).mul_(factor); });
}

void WholeModel::apply_updates(double lr, std::uint64_t step) {
  for_each_trainable([&](std::uint32_t i, std::size_t p) {
    const ParameterDescription& parameter = layers()[i].parameters[p];
    const Bytes offset = of(i, Part::own).layout.places[p].offset;
    ParameterUpdate one{of(i, Part::own).flat.view(offset, parameter.shape), gradient(i, p), {}, parameter.decays};
    for (std::size_t m = 0; m < moments_[i].size(); ++m) one.moments[m] = moments_[i][m].view(offset, parameter.shape);
    update(optimizer_, layer_rate(optimizer_, lr, i, static_cast<std::uint32_t>(layers().size())), step,
           std::span(&one, 1));
  });
}

}  // namespace hopyard::fakes
