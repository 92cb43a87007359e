#include "resident_loop.h"

#include <ATen/Functions.h>

#include "base/clock.h"
#include "model/layer.h"
#include "pipeline/batches.h"
#include "pipeline/shard_compute.h"

namespace hopyard {

namespace {

class ResidentLoop {
 public:
  ResidentLoop(const BenchModel& model, const TrainSpec& train, Device& device, std::vector<std::uint32_t> cuts)
      : model_(model), train_(train), device_(device), begins_(std::move(cuts)), modules_(model.source->make_layers()) {
    begins_.insert(begins_.begin(), 0);
    const auto count = static_cast<std::uint32_t>(modules_.size());
    layouts_.reserve(count);
    for (std::uint32_t l = 0; l < count; ++l) layers_.push_back(load(l));
    for (auto& loaded : layers_)
      for (const auto& parameter : loaded.layer->description().parameters)
        if (parameter.tied_to)
          loaded.borrowed.push_back(layers_[parameter.tied_to->layer].value(parameter.tied_to->parameter));
  }

  void step(std::uint64_t index) {
    const auto rows = model_.first_rows(train_.batch_size);
    auto batches = make_batches(*model_.data, ModelTask::causal_lm, rows, train_.micro_batch_size);
    bring_batches(device_, batches);
    std::vector<std::vector<at::Tensor>> inputs(begins_.size());
    for (std::size_t s = 0; s + 1 < begins_.size(); ++s) {
      const auto shard = shard_of(s);
      make_copies(shard, compute_type(train_.precision));
      const BoundLayers bound(shard, false);
      inputs[s + 1] = forward_shard(context(shard, batches, index), inputs[s]);
      drop_copies(shard);
    }
    std::vector<at::Tensor> gradients;
    std::vector<TiedGradient> tied;
    for (std::size_t s = begins_.size(); s-- > 0;) {
      const auto shard = shard_of(s);
      make_copies(shard, compute_type(train_.precision));
      const BoundLayers bound(shard, true);
      BackwardOutput output = backward_shard(context(shard, batches, index), inputs[s], gradients, s > 0);
      gradients = std::move(output.input_gradients);
      inputs[s].clear();
      update(shard, tied, index + 1);
      drop_copies(shard);
    }
  }

 private:
  LoadedLayer load(std::uint32_t index) {
    const LayerDescription& description = modules_[index]->description();
    layouts_.push_back(layout_of(description, Part::own));
    LoadedLayer loaded;
    loaded.index = index;
    loaded.layer = modules_[index].get();
    loaded.own = loaded.shared = &layouts_.back();  // nothing is frozen
    loaded.trainable = true;
    loaded.parameters = first_values(*model_.source, index, Part::own, layouts_.back()).to(device_.place());
    loaded.moments =
        at::zeros({loaded.parameters.numel() * moment_count(train_.optimizer)}, loaded.parameters.options());
    return loaded;
  }
  std::span<LoadedLayer> shard_of(std::size_t s) {
    const std::size_t end = s + 1 < begins_.size() ? begins_[s + 1] : layers_.size();
    return std::span(layers_).subspan(begins_[s], end - begins_[s]);
  }
  ComputeContext context(std::span<LoadedLayer> shard, std::span<const Batch> batches, std::uint64_t step) const {
    return {.source = *model_.source,
            .layers = shard,
            .batches = batches,
            .step = step,
            .generator = device_.generator(),
            .has_head = shard.back().index + 1 == layers_.size(),
            .batch_rows = train_.batch_size};
  }
  void update(std::span<LoadedLayer> shard, std::vector<TiedGradient>& tied, std::uint64_t step) {
    for (auto& loaded : shard)
      for (std::size_t p = 0; p < loaded.layer->description().parameters.size(); ++p)
        if (const auto& owner = loaded.layer->description().parameters[p].tied_to)
          tied.push_back({*owner, loaded.gradient(p)});
    std::vector<TiedGradient> here;
    for (const auto& use : tied)
      if (use.owner.layer >= shard.front().index && use.owner.layer <= shard.back().index) here.push_back(use);
    add_tied_gradients(shard, here);
    for (auto& loaded : shard) {
      const auto own = gradients_of(loaded);
      update_layer(loaded, own, train_.optimizer, train_.optimizer.lr, step);
    }
  }
  static void drop_copies(std::span<LoadedLayer> shard) {
    for (auto& loaded : shard) loaded.copies = {};
  }

  const BenchModel& model_;
  const TrainSpec& train_;
  Device& device_;
  std::vector<std::uint32_t> begins_;  ///< first layers of the shards
  const std::vector<std::shared_ptr<Layer>> modules_;
  std::vector<LayerLayout> layouts_;
  std::vector<LoadedLayer> layers_;
};

}  // namespace

double run_resident_loop(const BenchModel& model, const TrainSpec& train, const DeviceMaker& maker,
                         const std::vector<std::uint32_t>& cuts, std::uint32_t steps) {
  double seconds = 0;
  on_compute_thread(maker, [&](Device& device) {
    ResidentLoop loop(model, train, device, cuts);
    loop.step(0);
    device.finish_compute();
    const double begin = monotonic_seconds();
    for (std::uint32_t step = 1; step <= steps; ++step) loop.step(step);
    device.finish_compute();
    seconds = monotonic_seconds() - begin;
  });
  return seconds;
}

}  // namespace hopyard
