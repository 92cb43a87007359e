// What computing a task left behind, before it is stored.
#pragma once

#include "pipeline/executor.h"

namespace hopyard {

struct Executor::Outcome {
  std::vector<at::Tensor> outputs;  ///< boundary activations or gradients, one for each micro-batch
  struct LayerGradients {
    std::uint32_t layer = 0;
    std::vector<at::Tensor> gradients;  ///< one for each parameter; clipped steps only
  };
  std::vector<LayerGradients> gradients;
  std::vector<std::pair<TrialRun::TiedUse*, at::Tensor>> tied;  ///< for owners in other shards
  double loss_sum = 0;
  std::int64_t items = 0;
  std::optional<Judged> judged;
};

}  // namespace hopyard
