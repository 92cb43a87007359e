#include "pipeline/step_program.h"

#include <algorithm>

namespace hopyard {

namespace {

bool has_moments_blob(const TrialSetup& setup, std::uint32_t layer) {
  return is_trainable(setup, layer) && moment_count(setup.train.optimizer) > 0;
}

/// The blob that tasks which only read a layer's own part read.
std::uint32_t own_blob_read(const TrialSetup& setup, std::uint32_t layer) {
  return keeps_copies(setup) ? copies_blob(setup, layer, Part::own) : parameters_blob(layer);
}
std::uint32_t frozen_blob_read(const TrialSetup& setup, std::uint32_t layer) {
  return setup.limits.frozen_copies ? copies_blob(setup, layer, Part::shared) : frozen_blob(setup, layer);
}

void add_borrowed(const TrialSetup& setup, std::uint32_t layer, std::vector<std::uint32_t>& blobs) {
  for (const auto& parameter : setup.source->description().layers[layer].parameters)
    if (parameter.tied_to && !parameter.frozen)
      blobs.push_back(own_blob_read(setup, parameter.tied_to->layer));
    else if (parameter.tied_to && setup.frozen_in_window)
      blobs.push_back(frozen_blob_read(setup, parameter.tied_to->layer));
}

}  // namespace

bool updates(const TrialSetup& setup, const TaskRef& task) {
  return task.kind == TaskKind::update ||
         (task.kind == TaskKind::backward && (!keeps_gradients(setup) || updates_beside(setup.train)));
}

bool touches_gradients(const TrialSetup& setup, const TaskRef& task) {
  return keeps_gradients(setup) && (task.kind == TaskKind::update || task.kind == TaskKind::backward);
}

std::uint32_t first_backward_shard(const PartitionPlan& plan) {
  std::uint32_t first = 0;
  while (first < plan.shards.size() && !plan.shards[first].backward) ++first;
  return first;
}

std::vector<TaskRef> training_program(const TrialSetup& setup) {
  std::vector<TaskRef> program;
  const auto count = static_cast<std::uint32_t>(setup.plan.shards.size());
  if (setup.materialise_to) {
    for (std::uint32_t s = 0; s < count; ++s) program.push_back({TaskKind::materialise, s});
    return program;
  }
  const std::uint32_t first = first_backward_shard(setup.plan);
  for (std::uint32_t s = 0; s + 1 < count; ++s) program.push_back({TaskKind::forward, s});
  for (std::uint32_t s = count; s-- > first;) program.push_back({TaskKind::backward, s});
  if (first < count && exchanges_gradients(setup)) program.push_back({TaskKind::exchange, first});
  if (keeps_gradients(setup) && !updates_beside(setup.train) && !is_served(setup.train))
    for (std::uint32_t s = first; s < count; ++s) program.push_back({TaskKind::update, s});
  return program;
}

std::vector<TaskRef> bystander_program(const TrialSetup& setup) {
  std::vector<TaskRef> program = training_program(setup);
  std::erase_if(program,
                [](const TaskRef& task) { return task.kind != TaskKind::exchange && task.kind != TaskKind::update; });
  return program;
}

std::vector<TaskRef> evaluation_program(const TrialSetup& setup) {
  std::vector<TaskRef> program;
  for (std::uint32_t s = 0; s < setup.plan.shards.size(); ++s) program.push_back({TaskKind::evaluate, s});
  return program;
}

std::vector<std::uint32_t> blobs_needed(const TrialSetup& setup, const TaskRef& task) {
  std::vector<std::uint32_t> blobs;
  if (task.kind == TaskKind::exchange) return blobs;
  const ShardPlan& shard = setup.plan.shards[task.shard];
  for (std::uint32_t l = shard.begin; l < shard.end; ++l) {
    if (is_trainable(setup, l)) blobs.push_back(own_blob_read(setup, l));
    if (is_trainable(setup, l) && updates(setup, task)) blobs.push_back(parameters_blob(l));
    if (has_frozen_blob(setup, l) && task.kind != TaskKind::update) blobs.push_back(frozen_blob_read(setup, l));
    if (updates(setup, task) && has_moments_blob(setup, l)) blobs.push_back(moments_blob(l));
    if (touches_gradients(setup, task) && is_trainable(setup, l)) blobs.push_back(gradients_blob(l));
    if (task.kind != TaskKind::update) add_borrowed(setup, l, blobs);
  }
  std::sort(blobs.begin(), blobs.end());
  blobs.erase(std::unique(blobs.begin(), blobs.end()), blobs.end());
  return blobs;
}

std::vector<std::uint32_t> blobs_changed(const TrialSetup& setup, const TaskRef& task) {
  std::vector<std::uint32_t> blobs;
  const ShardPlan& shard = setup.plan.shards[task.shard];
  for (std::uint32_t l = shard.begin; l < shard.end; ++l) {
    if (!is_trainable(setup, l)) continue;
    if (updates(setup, task)) {  // gradients are spent by then
      blobs.push_back(parameters_blob(l));
      if (has_moments_blob(setup, l)) blobs.push_back(moments_blob(l));
      if (keeps_copies(setup)) blobs.push_back(copies_blob(setup, l, Part::own));
    } else if (touches_gradients(setup, task)) {
      blobs.push_back(gradients_blob(l));
    }
  }
  std::sort(blobs.begin(), blobs.end());
  return blobs;
}

}  // namespace hopyard
