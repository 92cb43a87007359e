#include "pipeline/features.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "base/failure.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kNoSegment = 0xffff'ffff;

Features::Segments one_segment(std::uint32_t rows) {
  Features::Segments segments(1);
  for (std::uint32_t row = 0; row < rows; ++row) segments[0].push_back(row);
  return segments;
}

Bytes slot_bytes(const Features::Segments& segments, Bytes row_bytes) {
  std::size_t most = 0;
  for (const auto& rows : segments) most = std::max(most, rows.size());
  return most * row_bytes;
}

}  // namespace

const char* to_string(FeatureTier tier) {
  switch (tier) {
    case FeatureTier::host:
      return "host";
    case FeatureTier::disk:
      return "disk";
    case FeatureTier::fused:
      return "fused";
  }
  return "";
}

Features::Features(HostReservation reservation, std::uint32_t rows, Bytes row_bytes)
    : Features(std::move(reservation), rows, one_segment(rows), 1, row_bytes) {
  put_in(0, 0);
}

Bytes Features::bytes_for(const Segments& segments, std::uint32_t slots, Bytes row_bytes) {
  return slots * HostBuffer::rounded(slot_bytes(segments, row_bytes));
}

Features::Features(HostReservation reservation, std::uint32_t rows, Segments segments, std::uint32_t slots,
                   Bytes row_bytes)
    : segments_(std::move(segments)),
      row_bytes_(row_bytes),
      places_(rows, Place{kNoSegment, 0}),
      begins_(segments_.size()),
      end_layers_(rows, 0) {
  const Bytes bytes = slot_bytes(segments_, row_bytes);
  for (std::uint32_t slot = 0; slot < slots; ++slot)
    slots_.emplace_back(reservation.split(HostBuffer::rounded(bytes)), bytes);
  for (std::uint32_t segment = 0; segment < segments_.size(); ++segment) {
    std::uint32_t index = 0;
    for (const auto row : segments_[segment]) {
      require(places_.at(row).segment == kNoSegment, "row ", row, " is in two segments of features");
      places_[row] = {segment, index++};
    }
  }
}

std::byte* Features::address(std::uint32_t row) const {
  const Place& place = places_.at(row);
  std::byte* const begin = place.segment == kNoSegment ? nullptr : begins_[place.segment].load();
  require(begin != nullptr, "row ", row, " of features is not in host memory");
  return begin + place.index * row_bytes_;
}

void Features::put_in(std::uint32_t segment, std::uint32_t slot) {
  for (const auto& begin : begins_) require(begin != slots_.at(slot).data(), "slot ", slot, " of features is taken");
  begins_.at(segment) = slots_[slot].data();
}

void Features::take_out(std::uint32_t segment) {
  begins_.at(segment) = nullptr;
  const std::lock_guard lock(mutex_);
  for (const auto row : segments_[segment]) end_layers_[row] = 0;
}

std::span<std::byte> Features::bytes_of(std::uint32_t segment) {
  std::byte* const begin = begins_.at(segment);
  require(begin != nullptr, "segment ", segment, " of features is not in host memory");
  return {begin, segments_[segment].size() * row_bytes_};
}

void Features::note_back(std::uint32_t segment, std::uint32_t end_layer) {
  const std::lock_guard lock(mutex_);
  require(shapes_.contains(end_layer), "no row behind ", end_layer, " layers was ever computed");
  for (const auto row : segments_.at(segment)) end_layers_[row] = end_layer;
}

void Features::note(std::span<const std::uint32_t> rows, std::uint32_t end_layer, std::vector<std::int64_t> row_shape) {
  const std::lock_guard lock(mutex_);
  const auto& known = shapes_.emplace(end_layer, row_shape).first->second;
  require(known == row_shape, "rows behind layer ", end_layer, " are not of one shape");
  for (const auto row : rows) end_layers_.at(row) = end_layer;
}

std::vector<std::int64_t> Features::row_shape(std::span<const std::uint32_t> rows, std::uint32_t end_layer) const {
  const std::lock_guard lock(mutex_);
  for (const auto row : rows)
    require(row < end_layers_.size() && end_layers_[row] == end_layer, "row ", row, " is not there behind ", end_layer,
            " layers");
  return shapes_.at(end_layer);
}

GatheredRows gather_rows(const Features& features, std::span<const std::uint32_t> rows, std::uint32_t end_layer,
                         std::uint32_t micro_batch_size, at::ScalarType type, Device& device) {
  const auto row_shape = features.row_shape(rows, end_layer);
  GatheredRows gathered;
  for (std::size_t begin = 0; begin < rows.size(); begin += micro_batch_size) {
    const auto part = rows.subspan(begin, std::min<std::size_t>(micro_batch_size, rows.size() - begin));
    std::vector<std::int64_t> shape{static_cast<std::int64_t>(part.size())};
    shape.insert(shape.end(), row_shape.begin(), row_shape.end());
    at::Tensor tensor = device.allocate(shape, type);
    const Bytes bytes = tensor.nbytes() / part.size();
    auto* to = static_cast<std::byte*>(tensor.data_ptr());
    for (const auto row : part) {
      gathered.transfers.push_back({to, features.row(row), bytes});
      to += bytes;
    }
    gathered.tensors.push_back(std::move(tensor));
  }
  return gathered;
}

std::vector<CopyRequest> scatter_rows(Features& features, std::span<const std::uint32_t> rows,
                                      std::span<const at::Tensor> tensors) {
  std::vector<CopyRequest> transfers;
  std::size_t next = 0;
  for (const auto& tensor : tensors) {
    const auto count = static_cast<std::size_t>(tensor.size(0));
    const Bytes bytes = tensor.nbytes() / count;
    const auto* from = static_cast<const std::byte*>(tensor.data_ptr());
    require(bytes <= features.row_bytes(), "a row of ", bytes, " bytes where there is room for ", features.row_bytes());
    for (std::size_t i = 0; i < count; ++i) transfers.push_back({features.row(rows[next++]), from + i * bytes, bytes});
  }
  require(next == rows.size(), next, " rows of activations for ", rows.size());
  return transfers;
}

std::vector<std::int64_t> row_shape_of(std::span<const at::Tensor> tensors) {
  return tensors.front().sizes().slice(1).vec();
}

}  // namespace hopyard
