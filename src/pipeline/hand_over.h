// Gradients that a backward in host memory gives to the exchange of its step while it goes on.
#pragma once

#include "pipeline/executor.h"
#include "pipeline/last_gradients.h"

namespace hopyard {

/// Of one backward, whose gradients are pinned. On the thread that computes, without the executor's lock.
class Executor::HandOver final : public LastGradients {
 public:
  /// With the lock. A task before this one may have handed some of the layers over and then run out of memory.
  HandOver(Executor& executor, Active& active, std::span<LoadedLayer> layers);

  void losses(std::span<const MicroBatchLoss> losses) override;
  void layer(std::size_t place, std::span<const LayerGradients> pieces) override;
  /// The exchange has the gradients of the layer at this place: they must not be written again.
  bool has(std::size_t place) const { return handed_[place]; }

 private:
  void copy_home(std::size_t place, std::uint32_t piece, const LayerGradients& gradients);

  Executor& executor_;
  Active& active_;  // while the task is under way
  TrialRun& trial_;
  const std::span<LoadedLayer> layers_;
  std::vector<bool> handed_;
};

}  // namespace hopyard
