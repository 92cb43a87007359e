// What a device runs: one step of one shard for one batch. Never preempted.
#pragma once

#include <cstdint>
#include <string>

namespace hopyard {

/// forward: without a graph, keeping the boundary activation. backward: recompute with a graph, backward, and, unless
/// the step has a second pass, update; of the last shard: forward and backward in one. update: that second pass, in
/// host memory. evaluate: forward on validation rows. materialise: forward of frozen layers, for all trials that share
/// them. exchange: of all shards, of a step that several processes compute: between its two passes, where it ends that
/// began with the first gradients, or in the place of the second where a server updates; no device runs it.
enum class TaskKind : std::uint8_t { forward, backward, update, evaluate, materialise, exchange };

struct TaskRef {
  TaskKind kind = TaskKind::forward;
  std::uint32_t shard = 0;
  bool operator==(const TaskRef&) const = default;
};

inline const char* to_string(TaskKind kind) {
  switch (kind) {
    case TaskKind::forward:
      return "forward";
    case TaskKind::backward:
      return "backward";
    case TaskKind::update:
      return "update";
    case TaskKind::evaluate:
      return "evaluate";
    case TaskKind::materialise:
      return "materialise";
    case TaskKind::exchange:
      return "exchange";
  }
  return "?";
}

}  // namespace hopyard
