#include "pipeline/served_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/failure.h"
#include "device/compute_threads.h"
#include "device/memory_account.h"
#include "model/layer.h"
#include "optim/optimizer.h"
#include "pipeline/pinned.h"
#include "pipeline/summed_gradients.h"

namespace hopyard {

namespace {

/// In memory that the trial reserved. It begins at the trial's state, and may outlive the trial.
class MasterState final : public ServedState {
 public:
  explicit MasterState(TrialRun& trial)
      : setup_(trial.setup()), memory_(trial.served()), first_step_(trial.visit().first_step) {
    for (const auto l : trained_layers(trial)) {
      const auto& layer = trial.layers()[l];
      parts_.push_back({l, layer.module, layer.own, layer.shared, parameters_});
      parameters_ += layer.own.bytes;
    }
    bytes_ = served_bytes(setup_);
    require(bytes_.parameters == parameters_, setup_.id, ": ", parameters_, " bytes train, and ", bytes_.parameters,
            " were reserved");
    for (std::size_t part = 0; part < parts_.size(); ++part) {
      const auto& layer = trial.layers()[parts_[part].layer];
      load(trial, *layer.parameters, values(Served::parameters, part));
      if (layer.moments) load(trial, *layer.moments, values(Served::moments, part));
    }
    std::memset(at(bytes_.parameters + bytes_.moments), 0, bytes_.gradients);
  }

  std::uint32_t staleness() const override { return setup_.train.data_parallel.staleness; }
  std::size_t parts() const override { return parts_.size(); }

  std::span<float> values(Served what, std::size_t part) override {
    const Part& p = parts_[part];
    if (what == Served::parameters) return floats({at(p.offset), p.own.bytes});
    const Bytes each = moment_bytes(setup_, p.own);
    return floats({at(bytes_.parameters + p.offset * moment_count(setup_.train.optimizer)), each});
  }
  std::span<float> gradients(std::uint64_t step, std::size_t part) override {
    const Part& p = parts_[part];
    const Bytes before = step % (staleness() + 1) * bytes_.parameters;
    return floats({at(bytes_.parameters + bytes_.moments + before + p.offset), p.own.bytes});
  }
  std::span<std::byte> staging(std::uint32_t member) override {
    const Bytes before = bytes_.parameters + bytes_.moments + bytes_.gradients;
    return {at(before + (member - 1) * bytes_.staging), bytes_.staging};
  }

  void update(std::uint64_t step) override {
    if (at::get_num_threads() != 1) compute_with_threads(1);  // the thread of whichever member is last
    const AccountScope uncharged(nullptr);                    // views of the host tier's bytes
    const TrainSpec& train = setup_.train;
    const double factor = train.clip_norm ? clip_factor(norm(step), *train.clip_norm) : 1;
    for (std::size_t part = 0; part < parts_.size(); ++part) {
      Part& p = parts_[part];
      LoadedLayer loaded;
      loaded.index = p.layer;
      loaded.layer = p.module.get();
      loaded.own = &p.own;
      loaded.shared = &p.shared;
      loaded.trainable = true;
      loaded.parameters = over(values(Served::parameters, part));
      if (moment_count(train.optimizer) > 0) loaded.moments = over(values(Served::moments, part));
      LayerGradients all = views(step, part);
      for (auto& gradient : all)
        if (gradient.defined() && train.clip_norm) gradient.mul_(factor);
      const std::uint64_t now = first_step_ + step;
      update_layer(loaded, all, train.optimizer, learning_rate_of(setup_, now, p.layer), now + 1);
      const auto spent = gradients(step, part);
      std::fill(spent.begin(), spent.end(), 0.0f);
    }
  }

 private:
  struct Part {
    std::uint32_t layer = 0;
    std::shared_ptr<Layer> module;
    LayerLayout own, shared;
    Bytes offset = 0;  ///< of its parameters among all
  };

  std::byte* at(Bytes offset) { return memory_->data() + offset; }
  static at::Tensor over(std::span<float> values) {
    return tensor_over(reinterpret_cast<std::byte*>(values.data()), values.size_bytes());
  }
  static void load(TrialRun& trial, std::uint32_t blob, std::span<float> to) {
    const Pinned pinned(trial.cache(), {blob}, false);
    const auto from = trial.cache().bytes(blob);
    std::memcpy(to.data(), from.data(), from.size());
  }
  /// Of each parameter that has some.
  LayerGradients views(std::uint64_t step, std::size_t part) {
    const Part& p = parts_[part];
    const at::Tensor flat = over(gradients(step, part));
    LayerGradients all(p.own.places.size());
    for (std::size_t i = 0; i < all.size(); ++i)
      if (p.own.places[i].bytes > 0) all[i] = parameter_view(flat, p.module->description(), p.own, i);
    return all;
  }
  double norm(std::uint64_t step) {
    double sum = 0;
    for (std::size_t part = 0; part < parts_.size(); ++part)
      for (const auto& gradient : views(step, part))
        if (gradient.defined()) sum += squared_norm(gradient);
    return std::sqrt(sum);
  }

  const TrialSetup setup_;
  const std::shared_ptr<HostBuffer> memory_;
  const std::uint64_t first_step_;
  std::vector<Part> parts_;
  Bytes parameters_ = 0;
  ServedBytes bytes_;
};

class ServedStep {
 public:
  explicit ServedStep(TrialRun& trial)
      : trial_(trial), end_(*trial.server()), task_(*trial.peek(0)), trained_(trained_layers(trial)) {}

  std::vector<StepLosses> complete() {
    if (trial_.visit().share.member == 0 && task_.unit == 0) end_.host(std::make_shared<MasterState>(trial_));
    push();
    const auto answer = end_.end_step();
    if (answer.diverged)
      require_finite(std::numeric_limits<double>::quiet_NaN(), trial_.visit().first_step + *answer.diverged);
    if (answer.newer) pull(Served::parameters);
    if (!trial_.is_last_step(task_)) return {};
    pull(Served::moments);
    return losses_of(end_.finish());
  }

 private:
  void push() {
    StepReport report;
    report.own = trial_.micro_batches_of(task_);
    report.micro_batches = trial_.micro_batches_in_batch(task_);
    report.last = trial_.is_last_step(task_);
    require(trial_.losses().size() == report.own.count(), trial_.setup().id, ": ", trial_.losses().size(),
            " losses of ", report.own.count(), " micro-batches");
    for (const auto& loss : trial_.losses()) {
      report.losses.push_back(loss.sum);
      report.losses.push_back(static_cast<double>(loss.items));
    }
    end_.begin_step(report);
    if (report.own.count() == 0) return;
    for (std::size_t part = 0; part < trained_.size(); ++part) {
      const Pinned pinned(trial_.cache(), {*trial_.layers()[trained_[part]].gradients}, true);
      end_.push(part, floats(add_tied_uses(trial_, trained_[part])));
    }
  }

  void pull(Served what) {
    for (std::size_t part = 0; part < trained_.size(); ++part) {
      const auto& layer = trial_.layers()[trained_[part]];
      const auto blob = what == Served::parameters ? layer.parameters : layer.moments;
      if (!blob) continue;
      const Pinned pinned(trial_.cache(), {*blob}, true);
      end_.pull(what, part, floats(trial_.cache().bytes(*blob)));
    }
  }

  std::vector<StepLosses> losses_of(const std::vector<std::vector<double>>& table) const {
    std::vector<StepLosses> steps;
    for (std::uint64_t step = 0; step < table.size(); ++step) {
      auto& to = steps.emplace_back(StepLosses{trial_.visit().first_step + step, {}});
      for (std::size_t i = 0; i + 1 < table[step].size(); i += 2)
        to.losses.push_back({table[step][i], static_cast<std::int64_t>(table[step][i + 1])});
    }
    return steps;
  }

  TrialRun& trial_;
  ServerEnd& end_;
  const PlannedTask task_;
  const std::vector<std::uint32_t> trained_;
};

}  // namespace

std::vector<StepLosses> complete_served_step(TrialRun& trial) { return ServedStep(trial).complete(); }

}  // namespace hopyard
