#include "pipeline/recorded_pass.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <array>

#include "base/bytes.h"
#include "base/failure.h"
#include "model/layer.h"

namespace hopyard {

namespace {

/// Where the layers' bytes are.
std::vector<const void*> places_of(std::span<const LoadedLayer> layers) {
  std::vector<const void*> places;
  const auto note = [&](const at::Tensor& bytes) { places.push_back(bytes.defined() ? bytes.data_ptr() : nullptr); };
  for (const auto& loaded : layers) {
    note(loaded.parameters);
    note(loaded.frozen);
    note(loaded.copies.parameters);
    note(loaded.copies.frozen);
    for (const auto& borrowed : loaded.borrowed) note(borrowed);
  }
  return places;
}

std::array<const at::Tensor*, 3> parts_of(const Batch& batch) {
  return {&batch.inputs, &batch.attention_mask, &batch.labels};
}

bool same_shape(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type();
}

at::Tensor clone_of(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.detach().clone(at::MemoryFormat::Contiguous) : at::Tensor();
}

void put(const at::Tensor& to, const at::Tensor& from) {
  if (to.defined()) at::Tensor(to).copy_(from);
}

/// Numbers that a tensor takes in a flat one, so that the next begins at a multiple of 256 bytes.
std::int64_t aligned(std::int64_t count) {
  constexpr Bytes kNumbers = 256 / sizeof(float);
  return static_cast<std::int64_t>(align_up(static_cast<Bytes>(count), kNumbers));
}

void set_gradients(std::span<LoadedLayer> layers, const std::vector<LayerGradients>& gradients) {
  for (std::size_t l = 0; l < layers.size(); ++l)
    for (std::size_t i = 0; i < gradients[l].size(); ++i) layers[l].gradient(i) = gradients[l][i];
}

/// One of its micro-batches alone.
ComputeContext only(const ComputeContext& context, std::size_t micro_batch) {
  ComputeContext one = context;
  one.batches = context.batches.subspan(micro_batch, 1);
  one.first_micro_batch += static_cast<std::uint32_t>(micro_batch);
  return one;
}

}  // namespace

bool RecordedPass::lend_copies(std::span<LoadedLayer> layers) {
  bytes_ = places_of(layers);
  used_ = false;
  if (!is_recorded()) return false;
  if (bytes_ != recorded_bytes_) {
    work_.reset();
    return false;
  }
  const at::NoGradGuard no_graph;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const bool made = copies_[l].parameters.defined() && layers[l].parameters.defined();
    if (made && layers[l].trainable) copies_[l].parameters.copy_(layers[l].parameters);
    layers[l].copies = copies_[l];
  }
  return true;
}

void RecordedPass::record(Device& device, const ComputeContext& context, std::span<const at::Tensor> inputs) {
  const at::NoGradGuard no_graph;
  try {
    prepare(device, context, inputs);
  } catch (const c10::OutOfMemoryError&) {
    return;
  }
  ComputeContext one = only(context, 0);
  one.batches = {&batch_, 1};
  one.recorded = &values_;
  set_gradients(context.layers, gradients_);
  const std::span<const at::Tensor> input(&input_, input_.defined() ? 1 : 0);
  work_ = device.record([&] {
    std::vector<at::Tensor> losses;
    ask_backward(one, input, {}, /*want_input_gradients=*/false, nullptr, losses);
    loss_ = losses.front();
  });
}

void RecordedPass::prepare(Device& device, const ComputeContext& context, std::span<const at::Tensor> inputs) {
  std::vector<LayerGradients> computed;
  std::int64_t numbers = 0;
  for (auto& loaded : context.layers) {
    computed.push_back(gradients_of(loaded));
    for (const auto& gradient : computed.back())
      if (gradient.defined()) numbers += aligned(gradient.numel());
  }
  const at::TensorOptions there(device.place());
  sums_ = at::empty({numbers}, there.dtype(at::kFloat));
  gradients_.clear();
  std::int64_t next = 0;
  for (const auto& layer : computed) {
    auto& views = gradients_.emplace_back();
    for (const auto& gradient : layer) {
      at::Tensor view;
      if (gradient.defined()) {
        view = sums_.narrow(0, next, gradient.numel()).view(gradient.sizes());
        next += aligned(gradient.numel());
      }
      views.push_back(std::move(view));
    }
  }
  const Batch& first = context.batches.front();
  batch_ = {clone_of(first.inputs), clone_of(first.attention_mask), clone_of(first.labels)};
  input_ = inputs.empty() ? at::Tensor() : clone_of(inputs.front());
  values_ = {at::zeros({}, there.dtype(at::kLong)), at::zeros({}, there.dtype(at::kFloat))};
  copies_.clear();
  for (const auto& loaded : context.layers) copies_.push_back(loaded.copies);
  recorded_bytes_ = bytes_;
}

bool RecordedPass::fits(const Batch& batch, const at::Tensor& input) const {
  const auto mine = parts_of(batch_), others = parts_of(batch);
  for (std::size_t i = 0; i < mine.size(); ++i)
    if (!same_shape(*mine[i], *others[i])) return false;
  return same_shape(input_, input);
}

BackwardOutput RecordedPass::backward(const ComputeContext& context, std::span<const at::Tensor> inputs) {
  require(context.has_head && !context.apart, "a record of a shard that passes gradients on");
  const at::NoGradGuard no_graph;
  // Negative zero and a number add up to the number, whatever its sign.
  sums_.fill_(-0.0);
  set_gradients(context.layers, gradients_);
  values_.loss_weight.fill_(loss_weight(context));
  BackwardOutput result;
  std::vector<at::Tensor> losses;
  for (std::size_t m = 0; m < context.batches.size(); ++m) {
    const Batch& batch = context.batches[m];
    const at::Tensor input = inputs.empty() ? at::Tensor() : inputs[m];
    const ComputeContext one = only(context, m);
    if (!fits(batch, input)) {
      auto alone = ask_backward(one, {&input, input.defined() ? std::size_t{1} : 0}, {}, false, nullptr, losses);
      result.losses.push_back(alone.losses.front());
      continue;
    }
    const auto to = parts_of(batch_), from = parts_of(batch);
    for (std::size_t part = 0; part < to.size(); ++part) put(*to[part], *from[part]);
    put(input_, input);
    values_.key.fill_(static_cast<std::int64_t>(pass_key(one.trial_seed, one.step, one.first_micro_batch)));
    work_->ask();
    used_ = true;
    losses.push_back(loss_.clone());
    const auto rows = (batch.inputs.defined() ? batch.inputs : input).size(0);
    result.losses.push_back({0, context.source.counted_items(rows)});
  }
  read_losses(losses, result.losses);
  return result;
}

}  // namespace hopyard
