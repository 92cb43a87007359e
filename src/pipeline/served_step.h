// Completing a step of a trial that has a server, on the side of one of its members.
#pragma once

#include <vector>

#include "pipeline/trial_run.h"

namespace hopyard {

/// The losses of a step's micro-batches, in their order.
struct StepLosses {
  std::uint64_t step = 0;  ///< of the trial
  std::vector<MicroBatchLoss> losses;
};

/// Requires a trial that is at its exchange and has a server, with its gradients in host memory. Sends them, and takes
/// parameters if there are newer ones; after the last step of a visit all of its state, as all members do. Returns the
/// losses of all steps of the visit then, and nothing before. Throws Diverged, at all members, and what the end throws.
/// Blocks; nobody else uses the trial meanwhile.
std::vector<StepLosses> complete_served_step(TrialRun& trial);

}  // namespace hopyard
