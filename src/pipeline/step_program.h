// The tasks of a step and the blobs that each of them needs and changes: what the engine runs and planners forecast.
// Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "pipeline/task.h"
#include "pipeline/trial_setup.h"

namespace hopyard {

/// The first shard with something to train; those before it have no backward.
std::uint32_t first_backward_shard(const PartitionPlan& plan);

/// The task changes parameters: an update, or a backward of a step in one pass.
bool updates(const TrialSetup& setup, const TaskRef& task);
/// The task adds to gradients that stay in the window, or takes them from there.
bool touches_gradients(const TrialSetup& setup, const TaskRef& task);

/// The tasks of a training step, or of a batch of rows that is materialised, in their order.
std::vector<TaskRef> training_program(const TrialSetup& setup);
/// Those of a step of which this process computes no micro-batch: exchange, and update unless a server does.
std::vector<TaskRef> bystander_program(const TrialSetup& setup);
/// The tasks that judge one batch of validation rows.
std::vector<TaskRef> evaluation_program(const TrialSetup& setup);

/// Blobs that a task needs in the host tier, ascending. Borrowed parameters of tied uses are among them. None of an
/// exchange, which takes gradients as it gets to them.
std::vector<std::uint32_t> blobs_needed(const TrialSetup& setup, const TaskRef& task);
/// Those of them that the task changes, ascending.
std::vector<std::uint32_t> blobs_changed(const TrialSetup& setup, const TaskRef& task);

}  // namespace hopyard
