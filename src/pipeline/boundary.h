// Activations and gradients at the boundary of two shards, on their way from one task to the next.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "pipeline/device_bytes.h"
#include "spill/host_tier.h"

namespace hopyard {

/// The tensors of all micro-batches of one batch at one boundary. Written by one task, read by later ones. Guarded by
/// the executor's lock; the host bytes belong to whoever stores or loads them.
struct Boundary {
  enum class InHost { absent, storing, there };

  explicit Boundary(HostBuffer buffer) : host(std::move(buffer)) {}

  HostBuffer host;  ///< room for all micro-batches
  InHost in_host = InHost::absent;
  std::vector<DeviceHold> kept;  ///< on a device, for the task that follows there
  std::uint32_t device = 0;      ///< where they are kept
  std::uint64_t turn = 0;        ///< raised by clear(): a store that ends late must not speak for newer tensors
  bool let_go = false;           ///< `kept` goes once the host has it: nobody will take it there
  int stores_in_flight = 0;      ///< to `host`, all from `device`
  std::uint64_t promised = 0;    ///< the turn that the last task chosen to write it will begin
  std::vector<std::vector<std::int64_t>> shapes;  ///< of each micro-batch
  at::ScalarType type = at::kFloat;               ///< of them all
  std::vector<Bytes> offsets;                     ///< of each micro-batch in `host`

  /// Nothing is here any more; a task will produce it anew.
  void clear() {
    in_host = InHost::absent;
    kept.clear();
    let_go = false;
    ++turn;
  }
  /// Takes note of the tensors that are about to be stored or kept.
  void describe(const std::vector<at::Tensor>& values) {
    shapes.clear();
    offsets.clear();
    Bytes offset = 0;
    for (const auto& value : values) {
      shapes.push_back(value.sizes().vec());
      type = value.scalar_type();
      offsets.push_back(offset);
      offset += align_up(value.nbytes());
    }
  }
};

}  // namespace hopyard
