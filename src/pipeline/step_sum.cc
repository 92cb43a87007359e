#include "pipeline/step_sum.h"

#include <algorithm>

#include "base/failure.h"
#include "model/layer.h"
#include "optim/optimizer.h"
#include "pipeline/pinned.h"
#include "pipeline/summed_gradients.h"

namespace hopyard {

namespace {

/// `bytes` has room for pieces of `piece` bytes, of which so many were filled.
GradientPart part_over(std::span<std::byte> bytes, Bytes piece, std::uint32_t pieces) {
  const std::size_t after = pieces == 0 ? 0 : (pieces - 1) * piece;
  return {floats(bytes.first(piece)), floats(bytes.subspan(piece, after)), pieces};
}

Bytes held_bytes(const TrialRun& trial, std::uint32_t layer) {
  return HostBuffer::rounded(gradient_bytes(trial.setup(), trial.layers()[layer].own));
}

/// Of gradients at a time: all, where the window holds everything; else so many that most of the other state may stay.
Bytes held_max(const TrialRun& trial) {
  const TrialSetup& setup = trial.setup();
  return setup.window >= trial_state_bytes(setup) ? setup.window : setup.window / 4;
}

class StepSum {
 public:
  StepSum(TrialRun& trial, const StepToSum& step)
      : trial_(trial),
        step_(step),
        exchange_(trial.exchange()),
        pieces_(trial.keeps_apart() ? step.own.count() : std::min(step.own.count(), 1u)) {}

  std::vector<MicroBatchLoss> gather_losses() {
    const MicroBatchRange own = step_.own;
    require(step_.losses.size() == own.count(), trial_.setup().id, ": ", step_.losses.size(), " losses of ",
            own.count(), " micro-batches");
    std::vector<double> values(2 * step_.micro_batches);
    for (std::uint32_t m = 0; m < own.count(); ++m) {
      values[2 * (own.begin + m)] = step_.losses[m].sum;
      values[2 * (own.begin + m) + 1] = static_cast<double>(step_.losses[m].items);
    }
    if (exchange_ != nullptr) exchange_->gather(values, {2 * own.begin, 2 * own.end});
    std::vector<MicroBatchLoss> losses;
    for (std::uint32_t m = 0; m < step_.micro_batches; ++m)
      losses.push_back({values[2 * m], static_cast<std::int64_t>(values[2 * m + 1])});
    return losses;
  }

  /// Those layers, the last first, whatever the members' cuts: all of them bring the same parts in the same order.
  void sum_layers(std::uint32_t begin, std::uint32_t end) {
    while (end > begin) {
      const std::uint32_t first = fitting(begin, end);
      sum_held(first, end);
      end = first;
    }
  }

 private:
  /// The first of the layers before `end` whose gradients are held at a time.
  std::uint32_t fitting(std::uint32_t begin, std::uint32_t end) const {
    Bytes bytes = 0;
    for (std::uint32_t l = end; l-- > begin;) {
      if (trial_.layers()[l].gradients) bytes += held_bytes(trial_, l);
      if (l + 1 < end && bytes > step_.held_max) return l + 1;
    }
    return begin;
  }

  void sum_held(std::uint32_t begin, std::uint32_t end) {
    std::vector<std::uint32_t> blobs;
    for (std::uint32_t l = begin; l < end; ++l)
      if (const auto& gradients = trial_.layers()[l].gradients) blobs.push_back(*gradients);
    const Pinned pinned(trial_.cache(), blobs, true);
    std::vector<GradientPart> parts;
    for (std::uint32_t l = end; l-- > begin;) {
      const auto& layer = trial_.layers()[l];
      for (auto& use : trial_.tied())
        if (use.trainable && use.layer == l) parts.push_back(part_over(use.gradient.span(), use.piece_bytes, pieces_));
      if (layer.gradients) parts.push_back(part_over(trial_.cache().bytes(*layer.gradients), layer.own.bytes, pieces_));
    }
    if (exchange_ != nullptr && !parts.empty()) exchange_->sum(parts, trial_.staging());
    for (std::uint32_t l = end; l-- > begin;)
      if (trial_.layers()[l].gradients) finish_layer(l);
  }

  /// What the backward of the layer's shard does where there is no exchange. Later layers are finished.
  void finish_layer(std::uint32_t l) {
    auto& layer = trial_.layers()[l];
    const auto gradient = add_tied_uses(trial_, l);
    if (!needs_whole_gradient(trial_.setup().train)) return;
    const at::Tensor flat = tensor_over(gradient.data(), gradient.size());
    for (std::size_t p = 0; p < layer.own.places.size(); ++p)
      trial_.norms()[l][p] = layer.own.places[p].bytes == 0
                                 ? 0
                                 : squared_norm(parameter_view(flat, layer.module->description(), layer.own, p));
  }

  TrialRun& trial_;
  const StepToSum& step_;
  StepExchange* const exchange_;
  const std::uint32_t pieces_;
};

}  // namespace

StepToSum step_to_sum(const TrialRun& trial) {
  const PlannedTask task = *trial.peek(0);
  const auto losses = trial.losses();
  return {trial.step_of(task),
          trial.micro_batches_in_batch(task),
          trial.micro_batches_of(task),
          {losses.begin(), losses.end()},
          held_max(trial)};
}

std::vector<MicroBatchLoss> sum_step(TrialRun& trial, const StepToSum& step, const AwaitGradients& await) {
  StepSum sum(trial, step);
  auto losses = sum.gather_losses();
  require_finite(total(losses).sum, step.step);
  const std::uint32_t first = trained_layers(trial).front();
  for (auto end = static_cast<std::uint32_t>(trial.layers().size()); end > first;) {
    const std::uint32_t begin = std::max(await(end), first);
    sum.sum_layers(begin, end);
    end = begin;
  }
  return losses;
}

bool sums_early(const TrialRun& trial) {
  const TrialSetup& setup = trial.setup();
  if (trial.server() != nullptr) return false;
  if (setup.window >= trial_state_bytes(setup)) return true;
  Bytes held = held_max(trial);
  for (const auto l : trained_layers(trial)) held = std::max(held, held_bytes(trial, l));
  return trial_window_min(setup) + held <= setup.window;
}

}  // namespace hopyard
