// What the gradients of a whole step decide about it: skipping and clipping. (DESIGN "A training step of a cut model")
#pragma once

#include <cstdint>

#include "pipeline/trial_run.h"

namespace hopyard {

struct StepVerdict {
  bool skipped = false;  ///< its updates are not done
  double factor = 1;     ///< by which gradients are multiplied before
};
/// Of the step under way, counted from 0; requires that the norms of all its gradients are there. The same at all
/// members of a step. Throws Diverged when the loss scale has nowhere to go.
StepVerdict judge_step(const TrialRun& trial, std::uint64_t step);

}  // namespace hopyard
