// What a trial is, resolved before it starts, and the bytes that follow from it. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "partitioner/partitioner.h"
#include "pipeline/feature_tier.h"
#include "pipeline/frozen_store.h"
#include "pipeline/task.h"
#include "pipeline/train_spec.h"

namespace hopyard {

/// What a trial is, resolved before it starts.
struct TrialSetup {
  std::uint32_t number = 0;  ///< unique in the experiment
  std::string id;
  std::uint64_t seed = 0;
  std::shared_ptr<const ModelSource> source;
  std::shared_ptr<const Dataset> train_data, valid_data;
  std::uint32_t train_rows = 0;  ///< visits name rows below it
  std::uint32_t valid_rows = 0;  ///< the same of evaluations
  /// Of these, the rows that it is judged on, by the partitions that they lie in; null: all, as one partition.
  std::shared_ptr<const Partitions> valid_partitions;
  /// Of the rows that it trains on; as many for each trial.
  std::shared_ptr<const Partitions> partitions;
  std::uint32_t rotation = 0;  ///< where its order of visits begins (hopper/visit_order.h)
  /// In place of what the rotation gives, where a recorded order is repeated: partitions of its visits; null: nothing.
  std::shared_ptr<const std::vector<std::uint32_t>> listed_visits;
  TrainSpec train;
  std::uint64_t total_steps = 0;  ///< of all epochs: the learning rate's horizon
  std::vector<LayerCost> costs;
  DeviceLimits limits;
  PartitionPlan plan;
  /// The layers before it are not computed: what they give comes from features (features.h).
  std::uint32_t first_layer = 0;
  FeatureTier feature_tier = FeatureTier::host;
  /// Set for a run that trains nothing: it stops before this layer, and what comes out becomes features.
  std::optional<std::uint32_t> materialise_to;
  Bytes window = 0;               ///< of the host tier, for its blobs
  bool frozen_in_window = false;  ///< frozen bytes come and go like others, instead of staying shared in host memory
};

/// Blob ids are the same whatever the cuts, the tiers and the sharing: three for each layer's own part, of zero bytes
/// where a trial has no such blob, and behind them one for each layer's shared part, for frozen_in_window. Then come
/// copies of both parts to compute with, which no commit names, and last the loss scale of a trial that has one.
constexpr std::uint32_t parameters_blob(std::uint32_t layer) { return 3 * layer; }
constexpr std::uint32_t moments_blob(std::uint32_t layer) { return 3 * layer + 1; }
constexpr std::uint32_t gradients_blob(std::uint32_t layer) { return 3 * layer + 2; }

/// Rows that it is judged on.
std::uint32_t judged_rows(const TrialSetup& setup);
/// Host bytes of a trial beside its window: boundaries, tied gradients. Known before it starts.
Bytes trial_overhead_bytes(const TrialSetup& setup);
/// Bytes of the blobs that a commit names.
Bytes committed_bytes(const TrialSetup& setup);
/// Of the copies in its window that tasks compute with, which are made anew whenever it is admitted.
Bytes derived_bytes(const TrialSetup& setup);
/// Bytes of all blobs that the window would hold if it held everything.
Bytes trial_state_bytes(const TrialSetup& setup);
/// What it has on disk: what commits name, and where the window does not hold everything any other blob as well. A
/// commit takes committed_bytes() more, until what it supersedes is dropped. Requires a window.
Bytes trial_disk_bytes(const TrialSetup& setup);
/// The smallest window with which every task can run, and all copies of a layer can be made.
Bytes trial_window_min(const TrialSetup& setup);

/// A layer of which nothing is trained has no other parameters: their blob is free for these.
std::uint32_t frozen_blob(const TrialSetup& setup, std::uint32_t layer);
std::uint32_t copies_blob(const TrialSetup& setup, std::uint32_t layer, Part part);
std::uint32_t loss_scale_blob(const TrialSetup& setup);
std::uint32_t blob_count(const TrialSetup& setup);
/// Of a blob that the trial has.
Bytes blob_bytes(const TrialSetup& setup, std::uint32_t blob);

LayerLayout layout_of(const TrialSetup& setup, std::uint32_t layer, Part part);
/// Some of its parameters are trained.
bool is_trainable(const TrialSetup& setup, std::uint32_t layer);
/// Its shared part has bytes, and they are in the trial's own window.
bool has_frozen_blob(const TrialSetup& setup, std::uint32_t layer);
/// What a part of a layer takes as a copy to compute with.
Bytes copy_bytes(const TrialSetup& setup, std::uint32_t layer, Part part);
/// Beside what it trains there are such copies, which each update leaves anew.
bool keeps_copies(const TrialSetup& setup);
/// The layers that it computes are [first_layer, end_layer).
std::uint32_t end_layer(const TrialSetup& setup);
/// It computes the layer, or borrows a parameter of it.
bool uses_layer(const TrialSetup& setup, std::uint32_t layer);
/// How it takes these of the FrozenStore.
inline FrozenForm frozen_form(const TrialSetup& setup) {
  if (!setup.limits.frozen_copies) return FrozenForm::whole;
  return setup.train.precision == Precision::fp16 ? FrozenForm::fp16 : FrozenForm::bf16;
}
/// Those layers among them that have a shared part, and share it with others.
std::vector<std::uint32_t> shared_layers(const TrialSetup& setup);
/// What these parts take of the host tier, with the room to make copies of them.
Bytes shared_layer_bytes(const TrialSetup& setup);
/// The costs of the layers that it computes, and a plan made from them in the numbering of the whole model.
std::vector<LayerCost> computed_costs(const TrialSetup& setup);
PartitionPlan in_whole_model(const TrialSetup& setup, PartitionPlan plan);
/// Predicts cuts (first layers of shards, in the numbering of the whole model); those outside its layers do not count.
PartitionPlan plan_cuts(const TrialSetup& setup, const std::vector<std::uint32_t>& cuts);
/// Between backward and update of a step its gradients are exchanged with other processes, if others take part.
bool exchanges_gradients(const TrialSetup& setup);
/// It trains with a loss scale.
bool has_loss_scale(const TrialSetup& setup);
/// Gradients stay in the window between backward and update: of a cut trial whose step needs all of them first, of one
/// that exchanges them, and of all that are updated on the host.
bool keeps_gradients(const TrialSetup& setup);
/// Of one layer with this layout of its own part: all pieces that may be kept apart.
Bytes gradient_bytes(const TrialSetup& setup, const LayerLayout& own);
/// What the members of a step sum up: the gradients of each layer's own part, and of each use of a tied parameter,
/// which a member of a server adds to the owner's by itself.
Bytes summed_bytes(const TrialSetup& setup);
/// What an exchange has of the host tier beside the gradients.
Bytes exchange_staging_bytes(const TrialSetup& setup);
/// What a server has of the host tier, and each member reserves, since which of them is first changes from visit to
/// visit. All of them nothing where the trial has no server.
struct ServedBytes {
  Bytes parameters = 0, moments = 0;
  Bytes gradients = 0;  ///< of all steps that are not complete
  Bytes staging = 0;    ///< for one other member
  Bytes all = 0;        ///< with staging for each other member
};
ServedBytes served_bytes(const TrialSetup& setup);
/// Of one layer at this step, from 0.
double learning_rate_of(const TrialSetup& setup, std::uint64_t step, std::uint32_t layer);
/// Of one layer with this layout of its own part.
Bytes moment_bytes(const TrialSetup& setup, const LayerLayout& own);

/// The sizes of all boundary buffers of a trial with its cuts.
struct BoundarySizes {
  std::vector<Bytes> activations;  ///< of each boundary
  Bytes gradient = 0, evaluation = 0;
};
BoundarySizes boundary_sizes(const TrialSetup& setup);
/// A boundary behind `layer`, for all micro-batches of a batch.
Bytes boundary_bytes(const TrialSetup& setup, std::uint32_t layer);
/// The largest that any boundary of this model can be.
Bytes largest_boundary_bytes(const TrialSetup& setup);

}  // namespace hopyard
