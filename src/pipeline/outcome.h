// What computing a task left behind, before it is stored.
#pragma once

#include "pipeline/executor.h"

namespace hopyard {

struct Executor::Outcome {
  std::vector<at::Tensor> outputs;  ///< boundary activations or gradients, one for each micro-batch
  struct Kept {
    std::uint32_t layer = 0, piece = 0;
    LayerGradients gradients;
  };
  std::vector<Kept> gradients;  ///< for the second pass of a step that has one
  struct Tied {
    TrialRun::TiedUse* use = nullptr;
    std::uint32_t piece = 0;
    at::Tensor gradient;
    std::span<std::byte> to() const { return use->piece(piece); }
  };
  std::vector<Tied> tied;  ///< for owners in other shards; of a step that is exchanged, all
  std::vector<MicroBatchLoss> losses;
  std::optional<Judged> judged;
};

}  // namespace hopyard
