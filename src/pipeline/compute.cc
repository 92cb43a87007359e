// Computing a task: runs on a device's compute thread, without the executor's lock.
#include <cstring>

#include "base/failure.h"
#include "base/log.h"
#include "device/device_kernels.h"
#include "model/layer.h"
#include "pipeline/batches.h"
#include "pipeline/hand_over.h"
#include "pipeline/outcome.h"
#include "pipeline/step_verdict.h"

namespace hopyard {

namespace {

bool owned_here(const LoadedLayer& loaded, std::size_t parameter) {
  return !loaded.layer->description().parameters[parameter].tied_to.has_value();
}

/// What the task asked for before it failed must be through before its bytes are let go.
void finish_after_error(Device& device) {
  try {
    device.finish_compute();
  } catch (const std::exception&) {
    // The first error is the one to tell.
  }
}

/// Stored as they are, without a kernel that nobody would wait for.
void make_contiguous(LayerGradients& gradients) {
  for (auto& gradient : gradients)
    if (gradient.defined()) gradient = gradient.contiguous();
}

/// Squared norms as squared_norm() has them, in the same order, wherever gradients are. Those of a card are read
/// together: each reading waits for all that is computed before it.
class SquaredNorms {
 public:
  /// `to` is written at once or by read().
  void add(const at::Tensor& gradient, double& to) {
    if (gradient.is_cpu()) {
      to = squared_norm(gradient);
      return;
    }
    there_.push_back(kernels_of(gradient.device().type()).squared_norm(gradient.contiguous()));
    to_.push_back(&to);
  }
  void read() {
    if (there_.empty()) return;
    const at::Tensor norms = at::stack(there_).to(at::kCPU);
    for (std::size_t i = 0; i < to_.size(); ++i) *to_[i] = norms.const_data_ptr<double>()[i];
  }

 private:
  std::vector<at::Tensor> there_;
  std::vector<double*> to_;
};

at::Tensor tensor_of(const DeviceHold& hold) { return hold ? hold->tensor : at::Tensor(); }

/// A part of a layer where it is in host memory, as tasks read it; undefined when it has no bytes.
at::Tensor tensor_in_host(TrialRun& trial, const TrialRun::LayerState& layer, Part part) {
  const Bytes bytes = layer.layout(part).bytes;
  if (bytes == 0) return {};
  return tensor_over(trial.in_host(layer, part), trial.value_bytes(part, bytes), trial.value_type(part));
}

/// Its own part in float32, likewise.
at::Tensor masters_in_host(TrialRun& trial, const TrialRun::LayerState& layer) {
  return layer.own.bytes == 0 ? at::Tensor() : tensor_over(trial.own_in_host(layer), layer.own.bytes);
}

/// Without what is behind its numbers.
at::Tensor copies_of(const DeviceHold& hold, const LayerLayout& layout) {
  return hold ? hold->tensor.narrow(0, 0, static_cast<std::int64_t>(layout.bytes / sizeof(float))) : at::Tensor();
}

/// A layer's own part and room for what an update leaves, of a task that reads masters or of one that reads copies.
void put_own(LoadedLayer& to, at::Tensor masters, at::Tensor copies) {
  to.parameters = std::move(masters);
  (to.parameters.defined() ? to.new_copies : to.copies.parameters) = std::move(copies);
}
void put_frozen(LoadedLayer& to, at::Tensor value) {
  (value.defined() && value.scalar_type() != at::kFloat ? to.copies.frozen : to.frozen) = std::move(value);
}

}  // namespace

/// The tensors of an input: on the device, views of the host's bytes, or gathered there.
std::vector<at::Tensor> Executor::input_tensors(DeviceState& device, const Slot& slot, const SlotInput& input) const {
  std::vector<at::Tensor> tensors;
  if (!input.needed()) return tensors;
  if (!input.loaded.empty()) {
    for (const auto& hold : input.loaded) tensors.push_back(hold->tensor);
    return tensors;
  }
  if (input.features != nullptr) {
    const TrainSpec& train = slot.trial->setup().train;
    GatheredRows gathered = gather_rows(*input.features, slot.trial->rows_of(slot.task), slot.first_layer,
                                        train.micro_batch_size, compute_type(train.precision), *device.device);
    for (const auto& copy : gathered.transfers) std::memcpy(copy.to, copy.from, copy.bytes);
    return std::move(gathered.tensors);
  }
  const Boundary& boundary = *input.boundary;
  for (std::size_t m = 0; m < boundary.shapes.size(); ++m)
    tensors.push_back(at::from_blob(const_cast<std::byte*>(boundary.host.data()) + boundary.offsets[m],
                                    boundary.shapes[m], boundary.type));
  return tensors;
}

std::vector<LoadedLayer> Executor::loaded_layers(DeviceState& device, Slot& slot) {
  TrialRun& trial = *slot.trial;
  const auto& plan = trial.shard(slot.task.task.shard);
  const bool own = device.device->has_own_memory();
  std::vector<LoadedLayer> loaded;
  for (std::uint32_t l = plan.begin; l < plan.end; ++l) {
    auto& layer = trial.layers()[l];
    LoadedLayer out;
    out.index = l;
    out.layer = layer.module.get();
    out.own = &layer.own;
    out.shared = &layer.shared;
    out.trainable = layer.trainable;
    if (own) {
      const auto& mine = slot.layers[l - plan.begin];
      put_own(out, tensor_of(mine.parameters), copies_of(mine.copies, layer.own));
      put_frozen(out, tensor_of(mine.frozen));
      out.moments = tensor_of(mine.moments);
    } else {
      const OwnNeeds needs = trial.own_needs(slot.task.task);
      put_own(out, needs.parameters ? masters_in_host(trial, layer) : at::Tensor(),
              needs.any_copies() ? tensor_in_host(trial, layer, Part::own) : at::Tensor());
      put_frozen(out, tensor_in_host(trial, layer, Part::shared));
      if (layer.moments && trial.updates_in(slot.task.task))
        out.moments =
            tensor_over(trial.cache().bytes(*layer.moments).data(), trial.cache().bytes(*layer.moments).size());
    }
    loaded.push_back(std::move(out));
  }
  for (const auto& use : trial.tied()) {
    if (!plan.holds(use.layer)) continue;
    const auto& owner = trial.layers()[use.owner.layer];
    const auto& description = owner.module->description();
    const LayerLayout& layout = owner.layout(use.part());
    at::Tensor value;
    if (use.owner.layer >= plan.begin) {
      value = loaded[use.owner.layer - plan.begin].value(use.owner.parameter);
    } else if (own) {
      for (const auto& borrowed : slot.borrowed) {
        if (borrowed.use != &use) continue;
        const auto& parameter = description.parameters[use.owner.parameter];
        value = borrowed.in_layer ? parameter_view(borrowed.value->tensor, description, layout, use.owner.parameter)
                                  : borrowed.value->tensor.narrow(0, 0, parameter.elements()).view(parameter.shape);
      }
    } else {
      value = parameter_view(tensor_in_host(trial, owner, use.part()), description, layout, use.owner.parameter);
    }
    loaded[use.layer - plan.begin].borrowed.push_back(std::move(value));
  }
  return loaded;
}

Executor::Outcome Executor::compute_to_end(DeviceState& device, Slot& slot) {
  try {
    Outcome outcome = compute(device, slot);
    device.device->finish_compute();
    return outcome;
  } catch (const c10::OutOfMemoryError& full) {  // of an allocator that counts for itself
    finish_after_error(*device.device);
    const MemoryAccount& account = device.device->account();
    HOPYARD_INFO << device.device->name() << ": " << full.what_without_backtrace();
    throw DeviceOutOfMemory(account.name(), 0, account.limit() - std::min(account.limit(), account.used()));
  } catch (...) {
    finish_after_error(*device.device);
    if (const auto failure = device.device->failure()) std::rethrow_exception(failure);  // of which this is a sign
    throw;
  }
}

Executor::Outcome Executor::compute(DeviceState& device, Slot& slot) {
  Outcome outcome;
  if (slot.task.task.kind == TaskKind::update) {
    compute_update(slot, order_update(*slot.trial, slot.task));
    return outcome;
  }
  const AccountScope charged(device.device->tensor_account());
  TrialRun& trial = *slot.trial;
  const TrialSetup& setup = trial.setup();
  auto layers = loaded_layers(device, slot);
  if (!slot.recorded || !slot.recorded->lend_copies(layers)) make_copies(layers, compute_type(setup.train.precision));
  const Dataset& data = slot.task.evaluation ? *setup.valid_data : *setup.train_data;
  const ModelTask task = setup.source->spec().task;
  auto batches = make_batches(data, task, trial.rows_of(slot.task), setup.train.micro_batch_size);
  const bool head = trial.has_head(slot.task.task.shard), first = trial.shard(slot.task.task.shard).begin == 0;
  bring_batches(*device.device, batches, {.inputs = first || (head && task == ModelTask::causal_lm), .labels = head});
  const ComputeContext context{.source = *setup.source,
                               .layers = layers,
                               .batches = batches,
                               .trial_seed = setup.seed,
                               .step = trial.step_of(slot.task),
                               .generator = device.device->generator(),
                               .train = !slot.task.evaluation,
                               .has_head = head,
                               .first_micro_batch = trial.micro_batches_of(slot.task).begin,
                               .batch_rows = trial.batch_rows(slot.task),
                               .loss_scale = trial.loss_scale() ? trial.loss_scale()->scale : 1,
                               .apart = trial.keeps_apart()};
  const auto inputs = slot.kept ? std::vector<at::Tensor>() : input_tensors(device, slot, slot.activation);
  if (slot.task.task.kind == TaskKind::backward) {
    const BoundLayers bound(layers, true);
    compute_backward(slot, context, inputs, input_tensors(device, slot, slot.gradient), outcome);
    if (slot.recorded && !slot.recorded->is_recorded()) {
      device.recording = true;
      slot.recorded->record(*device.device, context, inputs);
      device.recording = false;
    }
  } else if (slot.keeps) {
    slot.keeps->graph = forward_with_graph(context, inputs, trial.passes_gradient_down(slot.task.task.shard));
    for (const auto& output : slot.keeps->graph.outputs) outcome.outputs.push_back(output.detach());
  } else {
    const BoundLayers bound(layers, false);
    if (slot.task.evaluation && head)
      outcome.judged = judge_shard(context, inputs);
    else
      outcome.outputs = forward_shard(context, inputs);
  }
  for (auto& kept : outcome.gradients) make_contiguous(kept.gradients);
  if (!device.device->has_own_memory()) {
    copy_out(slot, outcome);
    if (trial.updates_beside_after(slot.task.task)) compute_update(slot, order_update(trial, slot.task));
  }
  return outcome;
}

void Executor::compute_backward(Slot& slot, const ComputeContext& context, std::span<const at::Tensor> inputs,
                                std::span<const at::Tensor> gradients, Outcome& outcome) {
  TrialRun& trial = *slot.trial;
  const auto handed = hand_over(slot, context.layers);
  BackwardOutput output = go_backward(slot, context, inputs, gradients, handed.get());
  outcome.outputs = std::move(output.input_gradients);
  outcome.losses = std::move(output.losses);
  if (exchanges_gradients(trial.setup())) {
    leave_for_exchange(trial, context.layers, output, handed.get(), outcome);
    return;
  }
  if (context.has_head) require_finite(total(outcome.losses).sum, context.step);
  add_tied(slot, context.layers, outcome);
  update_or_keep(slot, context, outcome);
}

BackwardOutput Executor::go_backward(Slot& slot, const ComputeContext& context, std::span<const at::Tensor> inputs,
                                     std::span<const at::Tensor> gradients, LastGradients* last) {
  if (slot.kept) return backward_of_graph(context, slot.kept->graph, gradients);
  if (slot.recorded && slot.recorded->is_recorded()) return slot.recorded->backward(context, inputs);
  return backward_shard(context, inputs, gradients, slot.trial->passes_gradient_down(slot.task.task.shard), last);
}

/// What a step that is exchanged leaves and the exchange has not got yet: every accumulator by itself, since others add
/// to them.
void Executor::leave_for_exchange(TrialRun& trial, std::span<LoadedLayer> layers, BackwardOutput& output,
                                  const HandOver* handed, Outcome& outcome) {
  const auto is_left = [&](std::uint32_t layer) {
    return layer >= layers.front().index && layer <= layers.back().index &&
           (handed == nullptr || !handed->has(layer - layers.front().index));
  };
  if (!trial.keeps_apart()) {
    auto& all = output.apart.emplace_back();
    for (auto& loaded : layers) all.push_back(gradients_of(loaded));
  }
  for (std::uint32_t piece = 0; piece < output.apart.size(); ++piece) {
    for (auto& use : trial.tied()) {
      if (!use.trainable || !is_left(use.layer)) continue;
      const auto& gradients = output.apart[piece][use.layer - layers.front().index];
      outcome.tied.push_back({&use, piece, gradients[use.parameter].contiguous()});
    }
    for (std::size_t i = 0; i < layers.size(); ++i)
      if (layers[i].trainable && is_left(layers[i].index))
        outcome.gradients.push_back({layers[i].index, piece, std::move(output.apart[piece][i])});
  }
}

void Executor::add_tied(const Slot& slot, std::span<LoadedLayer> layers, Outcome& outcome) {
  TrialRun& trial = *slot.trial;
  const auto& plan = trial.shard(slot.task.task.shard);
  std::vector<TiedGradient> tied;
  for (auto& use : trial.tied()) {
    if (!use.trainable) continue;
    const bool used = plan.holds(use.layer), owned = plan.holds(use.owner.layer);
    at::Tensor gradient;
    if (used) gradient = layers[use.layer - plan.begin].gradient(use.parameter);
    if (used && !owned) outcome.tied.push_back({&use, 0, gradient.contiguous()});
    if (owned && !used) {
      const auto& shape = trial.layers()[use.owner.layer].module->description().parameters[use.owner.parameter].shape;
      gradient = at::from_blob(use.gradient.data(), shape, at::kFloat);
      for (const auto& [loaded, hold] : slot.tied_gradients)
        if (loaded == &use) gradient = hold->tensor.narrow(0, 0, gradient.numel()).view(shape);
    }
    if (owned) tied.push_back({use.owner, gradient});
  }
  add_tied_gradients(layers, tied);
}

void Executor::update_or_keep(Slot& slot, const ComputeContext& context, Outcome& outcome) {
  TrialRun& trial = *slot.trial;
  const TrainSpec& train = trial.setup().train;
  const bool whole = needs_whole_gradient(train), keeps = keeps_gradients(trial.setup());
  // From here on the task must not run out of memory and be tried again: an update is not undone.
  const AccountScope uncharged(nullptr);
  const auto update = [&](const LoadedLayer& loaded, std::span<const at::Tensor> gradients) {
    const double lr = learning_rate_of(trial.setup(), context.step, loaded.index);
    try {
      update_layer(loaded, gradients, train.optimizer, lr, trial.update_of(slot.task));
    } catch (const c10::OutOfMemoryError&) {  // must not be tried again: layers before it are updated already
      fail(ExitCode::capacity, trial.setup().id,
           ": no memory was left on its device in the middle of an update; give the device more memory, and the same "
           "command goes on from the last commits");
    }
  };
  SquaredNorms norms;
  for (auto& loaded : context.layers) {
    if (!loaded.trainable) continue;
    auto own = gradients_of(loaded);
    if (whole)
      for (std::size_t p = 0; p < own.size(); ++p) {
        double& norm = trial.norms()[loaded.index][p] = 0;
        if (owned_here(loaded, p) && own[p].defined()) norms.add(own[p], norm);
      }
    if (keeps)
      outcome.gradients.push_back({loaded.index, 0, std::move(own)});
    else if (!whole)
      update(loaded, own);
  }
  norms.read();
  if (!whole || keeps) return;
  const StepVerdict verdict = judge_step(trial, context.step);
  if (verdict.skipped) return;
  for (auto& loaded : context.layers) {
    if (!loaded.trainable) continue;
    auto own = gradients_of(loaded);
    for (std::size_t p = 0; p < own.size(); ++p)
      if (owned_here(loaded, p) && own[p].defined()) own[p].mul_(verdict.factor);
    update(loaded, own);
  }
}

void Executor::copy_out(Slot& slot, Outcome& outcome) {
  TrialRun& trial = *slot.trial;
  if (Boundary* boundary = slot.output) {
    boundary->describe(outcome.outputs);
    for (std::size_t m = 0; m < outcome.outputs.size(); ++m)
      std::memcpy(boundary->host.data() + boundary->offsets[m], outcome.outputs[m].data_ptr(),
                  outcome.outputs[m].nbytes());
    outcome.outputs.clear();
  }
  if (Features* features = trial.features_from(slot.task)) {
    const auto rows = trial.rows_of(slot.task);
    for (const auto& copy : scatter_rows(*features, rows, outcome.outputs)) std::memcpy(copy.to, copy.from, copy.bytes);
    features->note(rows, slot.end_layer, row_shape_of(outcome.outputs));
    outcome.outputs.clear();
  }
  for (const auto& kept : outcome.gradients) {
    const auto& places = trial.layers()[kept.layer].own.places;
    std::byte* const to = trial.gradient_piece(kept.layer, kept.piece).data();
    for (std::size_t p = 0; p < places.size(); ++p)
      if (places[p].bytes > 0) std::memcpy(to + places[p].offset, kept.gradients[p].data_ptr(), places[p].bytes);
  }
  for (const auto& tied : outcome.tied) std::memcpy(tied.to().data(), tied.gradient.data_ptr(), tied.to().size());
  outcome.gradients.clear();
  outcome.tied.clear();
}

}  // namespace hopyard
