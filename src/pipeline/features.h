// Materialised activations: what frozen layers gave for the rows of a data set, computed once for all trials that have
// these layers in common. (Nautilus: Nakandala & Kumar, SIGMOD 2022, §4.)
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "device/device.h"
#include "pipeline/feature_tier.h"
#include "spill/host_tier.h"

namespace hopyard {

/// One activation for each of the first rows of a data set, of the type that trials compute in, in host memory. Rows
/// come and go by segments, each in one of a few slots, one row after another. Layers may work on them in place. Bytes
/// of different rows may be read and written at the same time; everything else is thread-safe, but what is read or
/// written must not be taken out.
class Features {
 public:
  /// What all rows take of the host tier.
  static Bytes bytes_for(std::uint32_t rows, Bytes row_bytes) { return HostBuffer::rounded(rows * row_bytes); }
  /// Requires a reservation of bytes_for(rows, row_bytes). `row_bytes`: the most that any layer gives for a row. One
  /// segment, which is in for good.
  Features(HostReservation reservation, std::uint32_t rows, Bytes row_bytes);

  /// The rows of each segment; no row is in two.
  using Segments = std::vector<std::vector<std::uint32_t>>;
  /// As above, where `slots` segments are in memory at a time.
  static Bytes bytes_for(const Segments& segments, std::uint32_t slots, Bytes row_bytes);
  /// No segment is in yet. Requires a reservation of bytes_for(segments, slots, row_bytes).
  Features(HostReservation reservation, std::uint32_t rows, Segments segments, std::uint32_t slots, Bytes row_bytes);

  Bytes row_bytes() const { return row_bytes_; }
  std::uint32_t rows() const { return static_cast<std::uint32_t>(places_.size()); }
  /// Requires that its segment is in.
  std::byte* row(std::uint32_t row) { return address(row); }
  const std::byte* row(std::uint32_t row) const { return address(row); }

  /// From now on these rows hold what the layers before `end_layer` gave, of this shape ([tokens, hidden]) each.
  void note(std::span<const std::uint32_t> rows, std::uint32_t end_layer, std::vector<std::int64_t> row_shape);
  /// The shape of one row. Requires that all of these rows hold what the layers before `end_layer` gave.
  std::vector<std::int64_t> row_shape(std::span<const std::uint32_t> rows, std::uint32_t end_layer) const;

  const Segments& segments() const { return segments_; }
  std::uint32_t slots() const { return static_cast<std::uint32_t>(slots_.size()); }
  bool is_in(std::uint32_t segment) const { return begins_[segment] != nullptr; }
  /// Gives a segment a slot in which none is. Its rows hold nothing yet.
  void put_in(std::uint32_t segment, std::uint32_t slot);
  /// Its slot is free again; what its rows held is gone.
  void take_out(std::uint32_t segment);
  /// All rows of a segment that is in.
  std::span<std::byte> bytes_of(std::uint32_t segment);
  /// Its bytes were brought back: rows hold again what the layers before `end_layer` gave. Requires a shape noted.
  void note_back(std::uint32_t segment, std::uint32_t end_layer);

 private:
  struct Place {
    std::uint32_t segment = 0, index = 0;
  };
  std::byte* address(std::uint32_t row) const;

  const Segments segments_;
  const Bytes row_bytes_;
  std::vector<HostBuffer> slots_;
  std::vector<Place> places_;                                  // of each row
  std::vector<std::atomic<std::byte*>> begins_;                // of each segment; null: not in
  mutable std::mutex mutex_;                                   // guards all below
  std::vector<std::uint32_t> end_layers_;                      // of each row; 0: nothing is there
  std::map<std::uint32_t, std::vector<std::int64_t>> shapes_;  // by end layer
};

/// The micro-batches of a task's rows, and what is to be copied into them.
struct GatheredRows {
  std::vector<at::Tensor> tensors;
  std::vector<CopyRequest> transfers;
};
/// Allocates on the device; copies nothing yet.
GatheredRows gather_rows(const Features& features, std::span<const std::uint32_t> rows, std::uint32_t end_layer,
                         std::uint32_t micro_batch_size, at::ScalarType type, Device& device);
/// What is to be copied so that each row gets its part of the micro-batches' contiguous `tensors`.
std::vector<CopyRequest> scatter_rows(Features& features, std::span<const std::uint32_t> rows,
                                      std::span<const at::Tensor> tensors);
/// Of the micro-batches' tensors.
std::vector<std::int64_t> row_shape_of(std::span<const at::Tensor> tensors);

}  // namespace hopyard
