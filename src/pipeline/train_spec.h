// The `train` and `execute` parts of a config.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "optim/optimizer_spec.h"
#include "pipeline/scheduler.h"

namespace hopyard {

/// What decides a trial's bits beside its model and data.
struct TrainSpec {
  std::uint32_t epochs = 1;
  std::uint32_t batch_size = 32;
  std::uint32_t micro_batch_size = 32;  ///< at most batch_size; the last micro-batch of a batch may be smaller
  OptimizerSpec optimizer;
  ScheduleSpec schedule;
  std::optional<double> clip_norm;  ///< global norm
  bool operator==(const TrainSpec&) const = default;
};

/// How many micro-batches a whole batch has.
inline std::uint32_t micro_batches_of(const TrainSpec& train) {
  return (train.batch_size + train.micro_batch_size - 1) / train.micro_batch_size;
}

/// What decides only when things happen.
struct ExecuteSpec {
  enum class Partitioner { dp, greedy };
  Partitioner partitioner = Partitioner::dp;
  std::optional<SchedulerKind> scheduler;  ///< none: `oldest` where trials hop, otherwise lrtf
  bool double_buffer = true;
  bool interleave = true;
  bool keep_activations = true;  ///< where a device has room, a cut trial's forward need not be computed twice
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
