#include "pipeline/step_verdict.h"

#include <cmath>

#include "optim/optimizer.h"

namespace hopyard {

StepVerdict judge_step(const TrialRun& trial, std::uint64_t step) {
  const TrainSpec& train = trial.setup().train;
  if (!needs_whole_gradient(train)) return {};
  const double squares = trial.squared_norm();
  StepVerdict verdict;
  double scale = 1;
  if (const LossScale* loss_scale = trial.loss_scale()) {
    scale = loss_scale->scale;
    if (!std::isfinite(squares)) {
      if (scale / 2 < kLossScaleMin)
        throw Diverged(text::cat("gradients were not finite numbers at step ", step + 1, " with a loss scale of ",
                                 scale,
                                 " and after many that were larger: lower the learning rate, set clip_norm, or compute "
                                 "in bf16"));
      verdict.skipped = true;
      return verdict;
    }
    verdict.factor = 1 / scale;
  }
  if (train.clip_norm) verdict.factor *= clip_factor(std::sqrt(squares) / scale, *train.clip_norm);
  return verdict;
}

}  // namespace hopyard
