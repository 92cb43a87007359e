// Materialised activations: what frozen layers gave for the rows of a data set, computed once for all trials that have
// these layers in common. (Nautilus: Nakandala & Kumar, SIGMOD 2022, §4.)
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "device/device.h"
#include "spill/host_tier.h"

namespace hopyard {

/// One activation for each of the first rows of a data set, float32, one row after another in host memory. Layers may
/// work on them in place. Bytes of different rows may be read and written at the same time; everything else is
/// thread-safe.
class Features {
 public:
  /// What they take of the host tier.
  static Bytes bytes_for(std::uint32_t rows, Bytes row_bytes) { return HostBuffer::rounded(rows * row_bytes); }
  /// Requires a reservation of bytes_for(rows, row_bytes). `row_bytes`: the most that any layer gives for a row.
  Features(HostReservation reservation, std::uint32_t rows, Bytes row_bytes);

  Bytes row_bytes() const { return row_bytes_; }
  std::uint32_t rows() const { return static_cast<std::uint32_t>(end_layers_.size()); }
  std::byte* row(std::uint32_t row) { return buffer_.data() + row * row_bytes_; }
  const std::byte* row(std::uint32_t row) const { return buffer_.data() + row * row_bytes_; }

  /// From now on these rows hold what the layers before `end_layer` gave, of this shape ([tokens, hidden]) each.
  void note(std::span<const std::uint32_t> rows, std::uint32_t end_layer, std::vector<std::int64_t> row_shape);
  /// The shape of one row. Requires that all of these rows hold what the layers before `end_layer` gave.
  std::vector<std::int64_t> row_shape(std::span<const std::uint32_t> rows, std::uint32_t end_layer) const;

 private:
  HostBuffer buffer_;
  const Bytes row_bytes_;
  mutable std::mutex mutex_;                                   // guards all below
  std::vector<std::uint32_t> end_layers_;                      // of each row; 0: nothing is there
  std::map<std::uint32_t, std::vector<std::int64_t>> shapes_;  // by end layer
};

/// The micro-batches of a task's rows, and what is to be copied into them.
struct GatheredRows {
  std::vector<at::Tensor> tensors;
  std::vector<CopyRequest> copies;
};
/// Allocates on the calling thread, charged to its account; copies nothing yet.
GatheredRows gather_rows(const Features& features, std::span<const std::uint32_t> rows, std::uint32_t end_layer,
                         std::uint32_t micro_batch_size);
/// What is to be copied so that each row gets its part of the micro-batches' contiguous `tensors`.
std::vector<CopyRequest> scatter_rows(Features& features, std::span<const std::uint32_t> rows,
                                      std::span<const at::Tensor> tensors);
/// Of the micro-batches' tensors.
std::vector<std::int64_t> row_shape_of(std::span<const at::Tensor> tensors);

}  // namespace hopyard
