#include "pipeline/profiler.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/failure.h"
#include "device/memory_account.h"
#include "model/layer.h"
#include "pipeline/batches.h"
#include "pipeline/shard_compute.h"

namespace hopyard {

namespace {

constexpr int kRuns = 3;

/// Layers alike in all of this cost the same.
struct LayerClass {
  std::string kind;
  bool goes_back = false, has_input = false, has_loss = false;
  std::vector<std::pair<std::vector<std::int64_t>, bool>> shapes;  ///< of its parameters, and whether they are frozen
  Bytes output_bytes = 0;
  auto operator<=>(const LayerClass&) const = default;
};

LayerClass class_of(const ModelDescription& model, std::uint32_t index, bool goes_back) {
  const LayerDescription& layer = model.layers[index];
  LayerClass out{layer.kind, goes_back, index > 0, index + 1 == model.layers.size(), {}, layer.output_bytes_per_row};
  for (const auto& parameter : layer.parameters) out.shapes.emplace_back(parameter.shape, parameter.frozen);
  return out;
}

struct Measured {
  Bytes saved = 0, transient = 0;
  double copy_s = 0;                                    ///< of its parameters, to compute with
  std::vector<double> forward_s, backward_s, update_s;  ///< of each run
  at::Tensor output;                                    ///< what the next layer takes
};

/// What there is more than so many: nothing where somebody else gave some back meanwhile.
Bytes beyond(Bytes bytes, Bytes than) { return bytes - std::min(bytes, than); }

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

/// Runs layers one after another, each on its own measured account.
class Profile {
 public:
  Profile(const ModelSource& source, const Dataset& data, const TrainSpec& train, Device& device)
      : source_(source), train_(train), device_(device), modules_(source.make_layers()) {
    const auto rows = data.first_rows(train.micro_batch_size);
    auto batches = make_batches(data, source.spec().task, rows, train.micro_batch_size);
    bring_batches(device, batches);
    batch_ = batches.front();
  }

  Measured measure(std::uint32_t index, const at::Tensor& x, bool goes_back) {
    const LayerDescription& description = modules_[index]->description();
    const LayerLayout own = layout_of(description, Part::own), shared = layout_of(description, Part::shared);
    LoadedLayer loaded;
    loaded.index = index;
    loaded.layer = modules_[index].get();
    loaded.own = &own;
    loaded.shared = &shared;
    loaded.trainable = description.trains();
    loaded.parameters = there(first_values(source_, index, Part::own, own));
    loaded.frozen = there(first_values(source_, index, Part::shared, shared));
    const auto floats = static_cast<std::int64_t>(own.bytes / sizeof(float));
    const auto options = at::device(device_.place()).dtype(at::kFloat);
    loaded.moments = at::zeros({floats * moment_count(train_.optimizer)}, options);
    for (const auto& parameter : description.parameters)
      if (parameter.tied_to) loaded.borrowed.push_back(at::zeros(parameter.shape, options));
    Measured best;
    best.copy_s = seconds_of([&] { make_copies(std::span(&loaded, 1), compute_type(train_.precision)); });
    for (int run = 0; run < kRuns; ++run) {
      forward(loaded, x, best);
      if (goes_back) backward(loaded, x, best);
    }
    const at::NoGradGuard no_graph;
    const BoundLayers bound(std::span(&loaded, 1), false);
    best.output = run(loaded, x);
    return best;
  }

 private:
  at::Tensor there(const at::Tensor& value) const { return value.defined() ? value.to(device_.place()) : value; }

  /// Seconds that `work` takes, until the device is through with it.
  double seconds_of(const std::function<void()>& work) {
    device_.finish_compute();
    const double begin = monotonic_seconds();
    work();
    device_.finish_compute();
    return monotonic_seconds() - begin;
  }

  Bytes used() { return device_.account().used(); }
  Bytes peak() { return device_.account().peak(); }

  at::Tensor run(const LoadedLayer& loaded, const at::Tensor& x) {
    Pass pass;
    pass.train = loaded.trainable || source_.spec().frozen_dropout;
    pass.layer = loaded.index;
    pass.generator = device_.generator();
    return loaded.layer->forward(x, batch_, pass);
  }

  void forward(LoadedLayer& loaded, const at::Tensor& x, Measured& best) {
    const at::NoGradGuard no_graph;
    const BoundLayers bound(std::span(&loaded, 1), false);
    device_.reset_peak();
    const Bytes before = used();
    best.forward_s.push_back(seconds_of([&] {
      const AccountScope charged(device_.tensor_account());
      run(loaded, x);
    }));
    best.transient = std::max(best.transient, beyond(peak(), before));
  }

  void backward(LoadedLayer& loaded, const at::Tensor& x, Measured& best) {
    const BoundLayers bound(std::span(&loaded, 1), true);
    const Bytes before = used();
    {
      const AccountScope charged(device_.tensor_account());
      const at::AutoGradMode graph(true);
      at::Tensor input = x.defined() ? x.detach() : x;
      if (input.defined()) input.requires_grad_(true);
      at::Tensor output = run(loaded, input);
      if (loaded.index + 1 == modules_.size()) output = source_.loss(output, batch_).sum;
      const Bytes saved = beyond(used(), before);
      const at::Tensor gradient = at::ones_like(output);
      device_.reset_peak();
      best.backward_s.push_back(seconds_of([&] { torch::autograd::backward({output}, {gradient}); }));
      best.saved = std::max(best.saved, saved);
      // Beyond the saved activations and the parameters' gradients, which are planned for apart.
      Bytes gradients = 0;
      for (const auto& gradient : gradients_of(loaded))
        if (gradient.defined()) gradients += charged_bytes(gradient.nbytes());
      best.transient = std::max(best.transient, beyond(beyond(peak(), before), saved + gradients));
    }
    auto gradients = gradients_of(loaded);
    LoadedLayer updated = loaded;
    if (updates_on_host(train_)) {  // where its time is not the device's
      const auto to_host = [](at::Tensor& value) {
        if (value.defined()) value = value.cpu();
      };
      to_host(updated.parameters);
      to_host(updated.moments);
      for (auto& gradient : gradients) to_host(gradient);
    }
    best.update_s.push_back(seconds_of([&] { update_layer(updated, gradients, train_.optimizer, 0.0, 1); }));
  }

  const ModelSource& source_;
  const TrainSpec& train_;
  Device& device_;
  std::vector<std::shared_ptr<Layer>> modules_;
  Batch batch_;
};

std::vector<LayerCost> measured_layers(const ModelSource& source, const Dataset& data, const TrainSpec& train,
                                       Device& device) {
  auto costs = layer_sizes(source, train);
  Profile profile(source, data, train, device);
  const double micros = micro_batches_here(train);
  std::map<LayerClass, Measured> known;
  at::Tensor x;
  for (std::uint32_t l = 0; l < costs.size(); ++l) {
    const bool goes_back = l >= source.frozen_layers();
    const LayerClass key = class_of(source.description(), l, goes_back);
    auto found = known.find(key);
    if (found == known.end()) found = known.emplace(key, profile.measure(l, x, goes_back)).first;
    const Measured& measured = found->second;
    x = measured.output;
    costs[l].saved_bytes = measured.saved;
    costs[l].transient_bytes = measured.transient;
    // Once a task, whether it goes forward or forward and back.
    costs[l].forward_s = median(measured.forward_s) * micros + measured.copy_s;
    costs[l].backward_s = median(measured.backward_s) * micros;
    costs[l].update_s = median(measured.update_s);
  }
  return costs;
}

}  // namespace

std::vector<LayerCost> layer_sizes(const ModelSource& source, const TrainSpec& train) {
  std::vector<LayerCost> costs;
  const auto& layers = source.description().layers;
  for (std::uint32_t l = 0; l < layers.size(); ++l) {
    LayerCost cost;
    cost.name = layers[l].name;
    cost.trainable = layers[l].trains();
    const Bytes own = layout_of(layers[l], Part::own).bytes;
    cost.frozen_bytes = layout_of(layers[l], Part::shared).bytes;
    cost.parameter_bytes = own + cost.frozen_bytes;
    for (const auto& parameter : layers[l].parameters) {
      if (!parameter.tied_to) continue;
      cost.borrowed_bytes += charged_bytes(static_cast<Bytes>(parameter.elements()) * sizeof(float));
      cost.borrowed_from = parameter.tied_to->layer;
      cost.borrowed_frozen = parameter.frozen;
    }
    if (cost.trainable) {
      cost.moment_bytes = own * static_cast<Bytes>(moment_count(train.optimizer));
      cost.gradient_bytes = (own + (cost.borrowed_frozen ? 0 : cost.borrowed_bytes)) * gradient_pieces(train);
    }
    // Logits go no further: they are there for one micro-batch at a time, as measuring finds.
    if (l + 1 < layers.size()) cost.output_bytes = row_bytes(layers[l], train.precision) * train.micro_batch_size;
    if (compute_type(train.precision) != at::kFloat) {
      cost.frozen_copy_bytes = charged_bytes(computed_bytes(train.precision, cost.frozen_bytes));
      cost.copy_bytes = charged_bytes(computed_bytes(train.precision, own)) + cost.frozen_copy_bytes;
      cost.borrowed_copy_bytes = charged_bytes(computed_bytes(train.precision, cost.borrowed_bytes));
    }
    costs.push_back(std::move(cost));
  }
  return costs;
}

std::vector<LayerCost> profile_layers(const ModelSource& source, const Dataset& data, const TrainSpec& train,
                                      const DeviceMaker& maker, std::uint32_t together) {
  require(together > 0, "nobody measures");
  std::vector<std::vector<LayerCost>> measured(together);
  std::vector<std::exception_ptr> errors(together);
  std::vector<std::thread> others;
  const auto measure = [&](std::size_t who) {
    try {
      on_compute_thread(maker, [&](Device& device) { measured[who] = measured_layers(source, data, train, device); });
    } catch (...) {
      errors[who] = std::current_exception();
    }
  };
  for (std::size_t who = 1; who < together; ++who) others.emplace_back(measure, who);
  measure(0);
  for (auto& other : others) other.join();
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
  std::vector<LayerCost> costs = std::move(measured.front());
  for (std::size_t l = 0; l < costs.size(); ++l)
    for (std::size_t who = 1; who < together; ++who) {
      costs[l].forward_s += measured[who][l].forward_s;
      costs[l].backward_s += measured[who][l].backward_s;
      costs[l].update_s += measured[who][l].update_s;
    }
  for (auto& cost : costs)
    for (double* seconds : {&cost.forward_s, &cost.backward_s, &cost.update_s}) *seconds /= together;
  return costs;
}

}  // namespace hopyard
