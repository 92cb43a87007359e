// Completing a step that several processes compute, on the side of one of them.
#pragma once

#include <functional>
#include <vector>

#include "pipeline/served_step.h"

namespace hopyard {

/// What the sum needs to know of a step, and what changes while its backward goes on.
struct StepToSum {
  std::uint64_t step = 0;           ///< of the trial
  std::uint32_t micro_batches = 0;  ///< of the whole batch
  MicroBatchRange own;
  std::vector<MicroBatchLoss> losses;  ///< of its own
  Bytes held_max = 0;                  ///< of gradients at a time, or else of one layer
};
/// Of the step under way, whose own losses are there. Nobody changes the trial meanwhile.
StepToSum step_to_sum(const TrialRun& trial);

/// Blocks until the gradients of the layer before `end` are in host memory. Returns the first of all layers before
/// `end` that are there without a gap. Throws when they will never be.
using AwaitGradients = std::function<std::uint32_t(std::uint32_t end)>;

/// Gets the losses of the whole batch, adds the gradients up over all members and then those of tied uses to their
/// owners, as one process would, and takes their norms: what remains is the update. From the last layer to the first,
/// as they come, so that layers before may still be computed: nobody else uses gradients that are there, norms, or what
/// is staged. Returns the losses. Throws Diverged, at all members, when they are no finite number, and what the
/// exchange and `await` throw. Blocks.
std::vector<MicroBatchLoss> sum_step(TrialRun& trial, const StepToSum& step, const AwaitGradients& await);

/// Layers are summed while those before them are computed: the window has room for that beside the largest task, so
/// that no task waits for the other members. Not where a server updates.
bool sums_early(const TrialRun& trial);

}  // namespace hopyard
