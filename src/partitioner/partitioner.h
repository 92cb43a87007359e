// Cutting a model into shards: a pure function from measured layer costs and a device to a PartitionPlan.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// What one layer costs for one batch (all its micro-batches). Times are seconds on the device in question.
struct LayerCost {
  std::string name;
  bool trainable = true;                       ///< some of its parameters are trained
  Bytes parameter_bytes = 0;                   ///< flat buffers; loaded for every task
  Bytes frozen_bytes = 0;                      ///< of them, what is never stored and trials may have in common
  Bytes borrowed_bytes = 0;                    ///< tied parameters owned by another layer, loaded as well
  std::optional<std::uint32_t> borrowed_from;  ///< that layer; a shard that holds both loads them once
  bool borrowed_frozen = false;                ///< their owner needs no gradient of them
  Bytes copy_bytes = 0;                        ///< of its parameters in another type, to compute with
  Bytes frozen_copy_bytes = 0;                 ///< of them, those of frozen_bytes
  Bytes borrowed_copy_bytes = 0;               ///< the same of what it borrows; none where a shard holds the owner
  Bytes moment_bytes = 0;                      ///< loaded and stored by backward tasks; 0 when frozen
  Bytes gradient_bytes = 0;                    ///< on the device between backward and update; 0 when frozen
  Bytes input_bytes = 0;                       ///< of a first layer that takes activations: those of one micro-batch
  Bytes output_bytes = 0;                      ///< boundary activation of one micro-batch
  Bytes saved_bytes = 0;                       ///< what a forward pass with graph keeps for one micro-batch
  Bytes transient_bytes = 0;  ///< the peak beyond saved bytes, of forward or backward, of one micro-batch
  double forward_s = 0, backward_s = 0, update_s = 0;  ///< of one batch; backward without recompute
  bool operator==(const LayerCost&) const = default;
};

/// The device as the partitioner sees it.
struct DeviceLimits {
  Bytes memory = 0;  ///< without a link it bounds the workspace only, and 0 means no bound
  double load_bytes_per_s = 0, store_bytes_per_s = 0;  ///< 0: no link, computes in host memory
  double latency_s = 0;                                ///< of one transfer
  bool double_buffer = true;
  std::uint32_t micro_batches = 1;
  bool update_on_host = false;  ///< parameters in, gradients out, no moments on the device
  bool host_always = false;     ///< also of a model that fits whole, which then is not resident
  bool host_beside = false;     ///< each shard once its gradients are home, not after the last backward
  /// Frozen parameters are in host memory as copies in the type that is computed in, and loaded as such.
  bool frozen_copies = false;
  /// So are trained ones, beside their masters, where the state does not stay on the device: tasks that do not update
  /// there load copies alone; those that do make new ones there and store them.
  bool own_copies = false;
  bool operator==(const DeviceLimits&) const = default;
};

/// What of a device's memory is planned with: kernels may take a little more than was measured on one micro-batch.
constexpr Bytes usable_memory(Bytes memory) { return memory - memory / 32; }

/// Contiguous layers [begin, end).
struct ShardPlan {
  std::uint32_t begin = 0, end = 0;
  Bytes forward_load_bytes = 0;          ///< parameters (and borrowed)
  Bytes backward_load_bytes = 0;         ///< parameters, moments
  Bytes frozen_bytes = 0;                ///< of both: what is not loaded again where another trial's task has it
  Bytes store_bytes = 0;                 ///< what backward writes back; 0 when frozen
  Bytes moment_bytes = 0;                ///< of store_bytes: home before the rest
  Bytes new_copy_bytes = 0;              ///< own_copies: of store_bytes, what backward makes beside what it loads
  Bytes forward_workspace = 0;           ///< device bytes beyond the loaded state during forward
  Bytes backward_workspace = 0;          ///< the same for backward with recompute: gradients, saved, transient
  double forward_s = 0, backward_s = 0;  ///< backward includes recompute and update
  double host_update_s = 0;              ///< with update_on_host: of its layers, in host memory
  bool backward = true;                  ///< false when this and all earlier layers are frozen
  bool holds(std::uint32_t layer) const { return layer >= begin && layer < end; }
  bool operator==(const ShardPlan&) const = default;
};

struct PartitionPlan {
  std::vector<ShardPlan> shards;
  bool resident = false;     ///< one shard that stays on the device
  double compute_s = 0;      ///< predicted compute of a step, with recompute
  double transfer_s = 0;     ///< predicted busier direction of the link in a step
  double step_s = 0;         ///< predicted time of a step of this trial alone
  Bytes peak_bytes = 0;      ///< predicted device peak with double buffering as planned
  double host_update_s = 0;  ///< with update_on_host: of all shards, in host memory
  bool operator==(const PartitionPlan&) const = default;
};

/// The most device bytes that any of its tasks takes beyond the loaded state.
Bytes largest_workspace(const PartitionPlan& plan);

/// Why there is no plan: the layer that does not fit by itself, the bytes it needs and the bytes there are.
struct DoesNotFit {
  std::uint32_t layer = 0;
  Bytes needed = 0, available = 0;
};

struct PartitionResult {
  std::optional<PartitionPlan> plan;
  std::optional<DoesNotFit> refusal;  ///< set exactly when plan is not
};

/// A shard's numbers for the layers [begin, end): the one place where costs of layers are put together.
ShardPlan make_shard(const std::vector<LayerCost>& layers, std::uint32_t begin, std::uint32_t end,
                     const DeviceLimits& device);
/// Predicts the times and the peak of given cuts (begins of all shards but the first, ascending).
PartitionPlan evaluate_cuts(const std::vector<LayerCost>& layers, const std::vector<std::uint32_t>& cuts,
                            const DeviceLimits& device);

/// As many layers as fit into each shard, from the first (Hydra, Nagrecha & Kumar, VLDB 2023, algorithm 1).
PartitionResult partition_greedy(const std::vector<LayerCost>& layers, const DeviceLimits& device);
/// Dynamic programming over pairs of neighbouring shards: minimises the predicted time of a step, where a transfer is
/// hidden behind the neighbour's compute only if both fit at once (docs/ARCHITECTURE.md, "what bounds a step"). Exact
/// up to 128 layers; beyond, cuts are sought among 128 places, greedy's among them, so never worse than greedy.
/// Boundaries' activations count as bytes on the device, not as time on the link (docs/decisions/0003-partitioner.md).
PartitionResult partition_dp(const std::vector<LayerCost>& layers, const DeviceLimits& device);

}  // namespace hopyard
