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

class StepSum {
 public:
  explicit StepSum(TrialRun& trial)
      : trial_(trial),
        exchange_(trial.exchange()),
        own_(trial.micro_batches_of(*trial.peek(0))),
        trained_(trained_layers(trial)) {
    pieces_ = trial.keeps_apart() ? own_.count() : std::min(own_.count(), 1u);
  }

  std::vector<MicroBatchLoss> gather_losses() {
    const auto count = trial_.micro_batches_in_batch(*trial_.peek(0));
    require(trial_.losses().size() == own_.count(), trial_.setup().id, ": ", trial_.losses().size(), " losses of ",
            own_.count(), " micro-batches");
    std::vector<double> values(2 * count);
    for (std::uint32_t m = 0; m < own_.count(); ++m) {
      values[2 * (own_.begin + m)] = trial_.losses()[m].sum;
      values[2 * (own_.begin + m) + 1] = static_cast<double>(trial_.losses()[m].items);
    }
    if (exchange_ != nullptr) exchange_->gather(values, {2 * own_.begin, 2 * own_.end});
    std::vector<MicroBatchLoss> losses;
    for (std::uint32_t m = 0; m < count; ++m)
      losses.push_back({values[2 * m], static_cast<std::int64_t>(values[2 * m + 1])});
    return losses;
  }

  void sum_tied() {
    std::vector<GradientPart> parts;
    for (auto& use : trial_.tied())
      if (use.trainable) parts.push_back(part_over(use.gradient.span(), use.piece_bytes, pieces_));
    sum(parts);
  }

  void sum_layers() {
    for (auto rest = std::span<const std::uint32_t>(trained_); !rest.empty();) {
      const auto some = rest.first(fitting(rest));
      std::vector<std::uint32_t> blobs;
      for (const auto l : some) blobs.push_back(*trial_.layers()[l].gradients);
      const Pinned pinned(trial_.cache(), blobs, true);
      std::vector<GradientPart> parts;
      for (std::size_t i = 0; i < some.size(); ++i)
        parts.push_back(part_over(trial_.cache().bytes(blobs[i]), trial_.layers()[some[i]].own.bytes, pieces_));
      sum(parts);
      for (const auto l : some) finish_layer(l);
      rest = rest.subspan(some.size());
    }
  }

 private:
  void sum(std::span<const GradientPart> parts) {
    if (exchange_ != nullptr && !parts.empty()) exchange_->sum(parts, trial_.staging());
  }

  /// How many of these layers to hold at a time: all, where the window holds everything; else so many that most of the
  /// other state may stay, but at least one.
  std::size_t fitting(std::span<const std::uint32_t> layers) const {
    const Bytes window = trial_.cache().window();
    if (window >= trial_state_bytes(trial_.setup())) return layers.size();
    Bytes bytes = 0;
    std::size_t count = 0;
    for (const auto l : layers) {
      bytes += HostBuffer::rounded(gradient_bytes(trial_.setup(), trial_.layers()[l].own));
      if (count > 0 && bytes > window / 4) break;
      ++count;
    }
    return count;
  }

  /// What the backward of the layer's shard does where there is no exchange.
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
  StepExchange* const exchange_;
  const MicroBatchRange own_;
  const std::vector<std::uint32_t> trained_;
  std::uint32_t pieces_ = 0;
};

}  // namespace

std::vector<StepLosses> complete_step(TrialRun& trial) {
  if (trial.server() != nullptr) return complete_served_step(trial);
  StepSum step(trial);
  auto losses = step.gather_losses();
  const std::uint64_t now = trial.step_of(*trial.peek(0));
  require_finite(total(losses).sum, now);
  step.sum_tied();
  step.sum_layers();
  return {{now, std::move(losses)}};
}

}  // namespace hopyard
