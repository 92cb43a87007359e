// Completing a step that several processes compute, on the side of one of them.
#pragma once

#include <vector>

#include "pipeline/served_step.h"

namespace hopyard {

/// Requires a trial that is at its exchange, with its gradients in host memory. Gets the losses of the whole batch,
/// adds the gradients up over all members and then those of tied uses to their owners, as one process would, and takes
/// their norms: what remains is the update. Returns the step's losses. Throws Diverged, at all members, when they are
/// no finite number, and what the exchange throws. Blocks; nobody else uses the trial meanwhile. A trial that has a
/// server: see served_step.h.
std::vector<StepLosses> complete_step(TrialRun& trial);

}  // namespace hopyard
