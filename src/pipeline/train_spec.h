// The `train` and `execute` parts of a config.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "model/description.h"
#include "optim/loss_scale.h"
#include "optim/optimizer_spec.h"
#include "pipeline/scheduler.h"

namespace hopyard {

/// What a trial computes in. Its parameters, moments and the sums of its gradients are float32 in any case.
enum class Precision {
  fp32,
  tf32,  ///< float32 whose products are rounded on the way in, where a device has that; elsewhere the same as fp32
  bf16,  ///< each task computes with bfloat16 copies of the parameters; activations and their gradients are bfloat16
  fp16,  ///< the same in float16, whose range needs a loss scale
};
constexpr Precision kPrecisions[] = {Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16};
inline std::string to_string(Precision precision) {
  constexpr const char* words[] = {"fp32", "tf32", "bf16", "fp16"};
  return words[static_cast<int>(precision)];
}
/// Tasks compute with copies of the parameters, of half their size.
constexpr bool computes_in_half(Precision precision) {
  return precision == Precision::bf16 || precision == Precision::fp16;
}
/// Of one number that a trial computes with.
constexpr Bytes element_bytes(Precision precision) { return computes_in_half(precision) ? 2 : 4; }
/// What as many numbers take as `bytes` of float32 hold.
constexpr Bytes computed_bytes(Precision precision, Bytes bytes) {
  return bytes / sizeof(float) * element_bytes(precision);
}
/// A row of what a layer gives.
inline Bytes row_bytes(const LayerDescription& layer, Precision precision) {
  return computed_bytes(precision, layer.output_bytes_per_row);
}

/// How several workers train a trial together.
struct DataParallelSpec {
  /// ordered: gradients are added in the order of micro-batches, so that the degree does not show in the bits.
  /// all_reduce: a baseline whose bits are its own.
  /// server: a baseline whose bits no two runs have in common, as a rule (step_server.h).
  enum class Sum { ordered, all_reduce, server };
  std::uint32_t degree = 1;  ///< so many workers
  Sum sum = Sum::ordered;
  std::uint32_t staleness = 0;  ///< server: a step's parameters lack the updates of so many steps before it at most
  /// The bits are those of one worker.
  bool is_exact() const { return degree == 1 || sum == Sum::ordered; }
  bool operator==(const DataParallelSpec&) const = default;
};

/// Where a step's update is computed: on a GPU, its place shows in the bits. On the device: parameters and moments move
/// both ways. On the host: parameters move in and gradients out, and a shard's update runs beside the tasks that
/// follow. chosen: by the planner, before the trial starts; never left once it has.
enum class UpdatePlace { chosen, device, host };

/// What decides a trial's bits beside its model and data.
struct TrainSpec {
  std::uint32_t epochs = 1;
  std::uint32_t batch_size = 32;
  std::uint32_t micro_batch_size = 32;  ///< at most batch_size; the last micro-batch of a batch may be smaller
  OptimizerSpec optimizer;
  ScheduleSpec schedule;
  std::optional<double> clip_norm;  ///< global norm
  DataParallelSpec data_parallel = {};
  UpdatePlace update = UpdatePlace::chosen;
  Precision precision = Precision::fp32;
  LossScaleSpec loss_scale = {};  ///< of fp16
  bool operator==(const TrainSpec&) const = default;
};

/// A server updates the parameters.
inline bool is_served(const TrainSpec& train) {
  return train.data_parallel.degree > 1 && train.data_parallel.sum == DataParallelSpec::Sum::server;
}

/// How many micro-batches a whole batch has.
inline std::uint32_t micro_batches_of(const TrainSpec& train) {
  return (train.batch_size + train.micro_batch_size - 1) / train.micro_batch_size;
}

/// The loss is scaled, and a step whose gradients are not all finite is skipped.
inline bool scales_loss(const TrainSpec& train) { return train.precision == Precision::fp16; }
/// No parameter can be updated before all gradients of the step are there.
inline bool needs_whole_gradient(const TrainSpec& train) { return train.clip_norm.has_value() || scales_loss(train); }
/// The step updates in a second pass, in host memory, once all its gradients are there.
inline bool is_two_pass(const TrainSpec& train) {
  return needs_whole_gradient(train) || train.data_parallel.degree > 1;
}
/// Gradients go home after each backward, however the model is cut.
inline bool updates_on_host(const TrainSpec& train) { return train.update == UpdatePlace::host; }
/// Each shard is updated as soon as its gradients are in host memory, beside other tasks.
inline bool updates_beside(const TrainSpec& train) { return updates_on_host(train) && !is_two_pass(train); }
/// How many micro-batches of a whole batch one worker computes at most.
inline std::uint32_t micro_batches_here(const TrainSpec& train) {
  const std::uint32_t degree = train.data_parallel.degree;
  return (micro_batches_of(train) + degree - 1) / degree;
}
/// How many gradients of a parameter a worker keeps apart at most: one for each of its micro-batches, where they are
/// added in order.
inline std::uint32_t gradient_pieces(const TrainSpec& train) {
  const auto& spec = train.data_parallel;
  return spec.degree > 1 && spec.sum == DataParallelSpec::Sum::ordered ? micro_batches_here(train) : 1;
}

/// What decides only when things happen.
struct ExecuteSpec {
  enum class Partitioner { dp, greedy };
  Partitioner partitioner = Partitioner::dp;
  std::optional<SchedulerKind> scheduler;  ///< none: `oldest` where trials hop, otherwise lrtf
  bool double_buffer = true;
  bool interleave = true;
  bool keep_activations = true;  ///< where a device has room, a cut trial's forward need not be computed twice
  bool pin_memory = true;        ///< the host tier, where a device copies faster from pinned memory
  bool cuda_graphs = false;      ///< steps of trials that stay on a cuda device are recorded and asked for as graphs
  bool record_kernels = false;   ///< keeps a record of what cuda devices do, for the summary and the trace
  bool share_frozen = true;      ///< one copy in host memory of frozen layers that trials have in common
  /// The most that what trials share may take of each tier; none: what there is beside the trials.
  std::optional<Bytes> sharing_host, sharing_disk;
  std::uint32_t lookahead = 8;       ///< how many tasks ahead bytes are moved to a device, as far as its memory goes
  std::uint32_t prefetch_tasks = 4;  ///< how many tasks ahead bytes are read from disk
  std::optional<std::vector<std::uint32_t>> cuts;  ///< forced first layers of all shards but the first
  std::optional<std::uint32_t> active_trials;      ///< at most so many trials interleave at a time
  bool operator==(const ExecuteSpec&) const = default;
};

}  // namespace hopyard
