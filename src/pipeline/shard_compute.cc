#include "pipeline/shard_compute.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "base/failure.h"
#include "model/judge.h"
#include "model/layer.h"
#include "pipeline/last_gradients.h"

namespace hopyard {

namespace {

at::Tensor run_layers(const ComputeContext& context, std::size_t micro_batch, at::Tensor x) {
  Pass pass;
  const auto place = context.first_micro_batch + static_cast<std::uint32_t>(micro_batch);
  pass.key = pass_key(context.trial_seed, context.step, place);
  pass.generator = context.generator;
  if (context.recorded != nullptr) pass.key_there = context.recorded->key;
  for (auto& loaded : context.layers) {
    pass.layer = loaded.index;
    pass.train = context.train && (loaded.trainable || context.source.spec().frozen_dropout);
    x = loaded.layer->forward(x, context.batches[micro_batch], pass);
  }
  return x;
}

/// Calls visit(tensor) for each tensor that the layers' modules are bound to views of.
template <class Visit>
void for_each_value(std::span<LoadedLayer> layers, const Visit& visit) {
  const auto visit_one = [&](at::Tensor& value, at::Tensor& copy) {
    at::Tensor& bound = copy.defined() ? copy : value;
    if (bound.defined()) visit(bound);
  };
  for (auto& loaded : layers) {
    visit_one(loaded.parameters, loaded.copies.parameters);
    visit_one(loaded.frozen, loaded.copies.frozen);
    auto& borrowed = loaded.copies.borrowed.empty() ? loaded.borrowed : loaded.copies.borrowed;
    for (auto& value : borrowed) visit(value);
  }
}

/// Adds a parameter's gradient to its sum as soon as a micro-batch's backward has it, and lets go of it.
class AddToSum : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit AddToSum(at::Tensor& sum) : sum_(sum) {}
  void operator()(const torch::autograd::Variable& parameter) override {
    const at::NoGradGuard no_graph;
    at::Tensor& gradient = parameter.mutable_grad();
    if (sum_.defined())
      sum_.add_(gradient);
    else
      sum_ = gradient.to(at::kFloat);
    gradient.reset();
  }

 private:
  at::Tensor& sum_;
};

/// What the module of a layer computes with: its parameters in their order.
std::vector<at::Tensor> computed_values(const LoadedLayer& loaded) {
  const auto& description = loaded.layer->description();
  const Copies& copies = loaded.copies;
  const at::Tensor& parameters = copies.parameters.defined() ? copies.parameters : loaded.parameters;
  const at::Tensor& frozen = copies.frozen.defined() ? copies.frozen : loaded.frozen;
  const auto& borrowed = copies.borrowed.empty() ? loaded.borrowed : copies.borrowed;
  std::vector<at::Tensor> values;
  std::size_t next = 0;
  for (std::size_t i = 0; i < description.parameters.size(); ++i) {
    const ParameterDescription& parameter = description.parameters[i];
    if (parameter.tied_to)
      values.push_back(borrowed.at(next++));
    else if (parameter.part() == Part::own)
      values.push_back(parameter_view(parameters, description, *loaded.own, i));
    else
      values.push_back(parameter_view(frozen, description, *loaded.shared, i));
  }
  return values;
}

/// After the backward of a micro-batch.
void keep_apart(const ComputeContext& context, BackwardOutput& result) {
  if (!context.apart) return;
  auto& piece = result.apart.emplace_back();
  for (auto& loaded : context.layers) {
    piece.push_back(gradients_of(loaded));
    for (std::size_t i = 0; i < loaded.layer->bound().size(); ++i) loaded.gradient(i).reset();
  }
}

/// Before the backward of the last micro-batch; `result` has what those before it left, and outlives this.
std::unique_ptr<LayersDone> tell_of_last(const ComputeContext& context, const BackwardOutput& result,
                                         LastGradients& last) {
  if (context.has_head) last.losses(result.losses);
  return std::make_unique<LayersDone>(context.layers, [&](std::size_t place) {
    std::vector<LayerGradients> pieces;
    for (const auto& piece : result.apart) pieces.push_back(piece[place]);
    pieces.push_back(gradients_of(context.layers[place]));
    last.layer(place, pieces);
  });
}

}  // namespace

LayerGradients gradients_of(LoadedLayer& loaded) {
  LayerGradients gradients;
  for (std::size_t i = 0; i < loaded.layer->bound().size(); ++i) gradients.push_back(loaded.gradient(i));
  return gradients;
}

at::Tensor& LoadedLayer::gradient(std::size_t i) {
  at::Tensor parameter = layer->bound().at(i);
  return gradient_sums.empty() ? parameter.mutable_grad() : gradient_sums.at(i);
}

at::ScalarType compute_type(Precision precision) {
  if (precision == Precision::bf16) return at::kBFloat16;
  return precision == Precision::fp16 ? at::kHalf : at::kFloat;
}

void make_copies(std::span<LoadedLayer> layers, at::ScalarType type) {
  if (type == at::kFloat) return;
  const at::NoGradGuard no_graph;
  for (auto& loaded : layers) {
    if (loaded.new_copies.defined()) loaded.copies.parameters = loaded.new_copies.copy_(loaded.parameters);
    const auto copy = [&](const at::Tensor& value, at::Tensor& copied) {
      if (value.defined() && !copied.defined()) copied = value.to(type);
    };
    copy(loaded.parameters, loaded.copies.parameters);
    copy(loaded.frozen, loaded.copies.frozen);
    std::size_t next = 0;
    for (const auto& parameter : loaded.layer->description().parameters) {
      if (!parameter.tied_to) continue;
      const auto& owner = *parameter.tied_to;
      const bool is_here = owner.layer >= layers.front().index && owner.layer < loaded.index;
      const at::Tensor& value = loaded.borrowed.at(next++);
      loaded.copies.borrowed.push_back(
          is_here ? computed_values(layers[owner.layer - layers.front().index]).at(owner.parameter) : value.to(type));
    }
  }
}

MicroBatchLoss total(std::span<const MicroBatchLoss> losses) {
  MicroBatchLoss sum;
  for (const auto& loss : losses) {
    sum.sum += loss.sum;
    sum.items += loss.items;
  }
  return sum;
}

at::Tensor tensor_over(std::byte* data, Bytes bytes, at::ScalarType type) {
  return at::from_blob(data, {static_cast<std::int64_t>(bytes / c10::elementSize(type))}, type);
}

at::Tensor first_values(const ModelSource& source, std::uint32_t layer, Part part, const LayerLayout& layout) {
  if (layout.bytes == 0) return {};
  at::Tensor flat = at::zeros({static_cast<std::int64_t>(layout.bytes / sizeof(float))}, at::kFloat);
  source.initialise(layer, part, 0, {static_cast<std::byte*>(flat.data_ptr()), layout.bytes});
  return flat;
}

at::Tensor parameter_view(const at::Tensor& flat, const LayerDescription& layer, const LayerLayout& layout,
                          std::size_t i) {
  const auto& description = layer.parameters[i];
  return flat.narrow(0, static_cast<std::int64_t>(layout.places[i].offset / sizeof(float)), description.elements())
      .view(description.shape);
}

at::Tensor LoadedLayer::value(std::size_t i) const {
  const auto& description = layer->description();
  const bool is_own = description.parameters[i].part() == Part::own;
  const at::Tensor& flat = is_own ? parameters : frozen;
  const at::Tensor& copy = is_own ? copies.parameters : copies.frozen;
  return parameter_view(flat.defined() ? flat : copy, description, is_own ? *own : *shared, i);
}

BoundLayers::BoundLayers(std::span<LoadedLayer> layers, bool with_gradients) : layers_(layers) {
  for (auto& loaded : layers_) {
    const auto values = computed_values(loaded);
    loaded.layer->bind(values, with_gradients);
    loaded.gradient_sums.clear();
    if (!with_gradients || values.empty() || values.front().scalar_type() == at::kFloat) continue;
    loaded.gradient_sums.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      torch::autograd::impl::set_post_acc_grad_hooks(loaded.layer->bound()[i],
                                                     std::make_unique<AddToSum>(loaded.gradient_sums[i]));
  }
}

BoundLayers::~BoundLayers() {
  for (auto& loaded : layers_) {
    for (const auto& parameter : loaded.layer->bound())
      if (!loaded.gradient_sums.empty()) torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
    loaded.layer->unbind();
  }
}

std::vector<at::Tensor> forward_shard(const ComputeContext& context, std::span<const at::Tensor> inputs) {
  const at::NoGradGuard no_graph;
  std::vector<at::Tensor> outputs;
  for (std::size_t m = 0; m < context.batches.size(); ++m)
    outputs.push_back(run_layers(context, m, inputs.empty() ? at::Tensor() : inputs[m]).contiguous());
  return outputs;
}

void read_losses(std::span<const at::Tensor> sums, std::span<MicroBatchLoss> losses) {
  if (sums.empty()) return;
  const at::Tensor read = at::stack(at::TensorList(sums.data(), sums.size())).to(at::kCPU, at::kDouble);
  for (std::size_t m = 0; m < losses.size(); ++m) losses[m].sum = read.const_data_ptr<double>()[m];
}

double loss_weight(const ComputeContext& context) {
  const auto rows = static_cast<std::int64_t>(context.batch_rows);
  return context.loss_scale / static_cast<double>(context.source.counted_items(rows));
}

BackwardOutput backward_shard(const ComputeContext& context, std::span<const at::Tensor> inputs,
                              std::span<const at::Tensor> output_gradients, bool want_input_gradients,
                              LastGradients* last) {
  std::vector<at::Tensor> loss_sums;
  BackwardOutput result = ask_backward(context, inputs, output_gradients, want_input_gradients, last, loss_sums);
  read_losses(loss_sums, result.losses);
  return result;
}

BackwardOutput ask_backward(const ComputeContext& context, std::span<const at::Tensor> inputs,
                            std::span<const at::Tensor> output_gradients, bool want_input_gradients,
                            LastGradients* last, std::vector<at::Tensor>& loss_sums) {
  BackwardOutput result;
  for (std::size_t m = 0; m < context.batches.size(); ++m) {
    const at::AutoGradMode graph(true);
    at::Tensor input = inputs.empty() ? at::Tensor() : inputs[m].detach();
    if (want_input_gradients) input.requires_grad_(true);
    at::Tensor output = run_layers(context, m, input), gradient;
    if (context.has_head) {
      const LossSum loss = context.source.loss(output, context.batches[m]);
      loss_sums.push_back(loss.sum.detach());
      result.losses.push_back({0, loss.items});
      gradient = context.recorded != nullptr ? context.recorded->loss_weight
                                             : at::full({}, loss_weight(context), loss_sums.back().options());
      output = loss.sum;
    } else {
      gradient = output_gradients[m];
    }
    std::unique_ptr<LayersDone> told;
    if (last != nullptr && m + 1 == context.batches.size()) {
      read_losses(loss_sums, result.losses);
      told = tell_of_last(context, result, *last);
    }
    torch::autograd::backward({output}, {gradient});
    told.reset();
    if (want_input_gradients) result.input_gradients.push_back(input.grad().contiguous());
    keep_apart(context, result);
  }
  return result;
}

ForwardGraph forward_with_graph(const ComputeContext& context, std::span<const at::Tensor> inputs,
                                bool want_input_gradients) {
  ForwardGraph graph;
  std::vector<LoadedLayer> layers(context.layers.begin(), context.layers.end());
  for_each_value(layers, [&](at::Tensor& value) {
    value = at::from_blob(value.data_ptr(), value.sizes(), value.options());
    graph.stand_ins.push_back(value);
  });
  const BoundLayers bound(layers, true);
  const at::AutoGradMode with_graph(true);
  for (std::size_t m = 0; m < context.batches.size(); ++m) {
    at::Tensor input = inputs.empty() ? at::Tensor() : inputs[m].detach();
    if (want_input_gradients) input.requires_grad_(true);
    graph.outputs.push_back(run_layers(context, m, input).contiguous());
    graph.inputs.push_back(std::move(input));
  }
  return graph;
}

BackwardOutput backward_of_graph(const ComputeContext& context, ForwardGraph& graph,
                                 std::span<const at::Tensor> output_gradients) {
  std::size_t next = 0;
  for_each_value(context.layers, [&](at::Tensor& value) {
    const at::Storage& storage = graph.stand_ins.at(next++).storage();
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(at::DataPtr(value.data_ptr(), value.device()));
  });
  BackwardOutput result;
  for (std::size_t m = 0; m < graph.outputs.size(); ++m) {
    torch::autograd::backward({graph.outputs[m]}, {output_gradients[m]});
    graph.outputs[m].reset();
    at::Tensor& input = graph.inputs[m];
    if (input.defined() && input.requires_grad()) result.input_gradients.push_back(input.grad().contiguous());
    input.reset();
    keep_apart(context, result);
  }
  return result;
}

void add_tied_gradients(std::span<LoadedLayer> layers, std::span<const TiedGradient> tied) {
  const at::NoGradGuard no_graph;
  for (const auto& use : tied) {
    for (auto& loaded : layers) {
      if (loaded.index != use.owner.layer) continue;
      at::Tensor& gradient = loaded.gradient(use.owner.parameter);
      require(gradient.defined(), "the owner of a tied parameter has no gradient of its own");
      gradient = gradient.add(use.gradient.view(gradient.sizes()));
    }
  }
}

void update_layer(const LoadedLayer& loaded, std::span<const at::Tensor> gradients, const OptimizerSpec& optimizer,
                  double lr, std::uint64_t step) {
  const at::NoGradGuard no_graph;
  const auto& description = loaded.layer->description();
  const int moments = moment_count(optimizer);
  const auto section = static_cast<std::int64_t>(loaded.own->bytes / sizeof(float));
  std::vector<ParameterUpdate> updates;
  for (std::size_t i = 0; i < description.parameters.size(); ++i) {
    if (loaded.own->places[i].bytes == 0 || !gradients[i].defined()) continue;
    ParameterUpdate update{loaded.value(i), gradients[i], {}, description.parameters[i].decays};
    for (int moment = 0; moment < moments; ++moment)
      update.moments[moment] =
          parameter_view(loaded.moments.narrow(0, moment * section, section), description, *loaded.own, i);
    updates.push_back(std::move(update));
  }
  update(optimizer, lr, step, updates);
  if (loaded.new_copies.defined()) loaded.new_copies.copy_(loaded.parameters);
}

Judged judge_shard(const ComputeContext& context, std::span<const at::Tensor> inputs) {
  const at::NoGradGuard no_graph;
  Judge judge(context.source);
  for (std::size_t m = 0; m < context.batches.size(); ++m)
    judge.add(run_layers(context, m, inputs.empty() ? at::Tensor() : inputs[m]), context.batches[m]);
  return judge.read();
}

}  // namespace hopyard
