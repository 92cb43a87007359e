#include "pipeline/features.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "base/failure.h"

namespace hopyard {

Features::Features(HostReservation reservation, std::uint32_t rows, Bytes row_bytes)
    : buffer_(std::move(reservation), rows * row_bytes), row_bytes_(row_bytes), end_layers_(rows, 0) {}

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
                         std::uint32_t micro_batch_size) {
  const auto row_shape = features.row_shape(rows, end_layer);
  GatheredRows gathered;
  for (std::size_t begin = 0; begin < rows.size(); begin += micro_batch_size) {
    const auto part = rows.subspan(begin, std::min<std::size_t>(micro_batch_size, rows.size() - begin));
    std::vector<std::int64_t> shape{static_cast<std::int64_t>(part.size())};
    shape.insert(shape.end(), row_shape.begin(), row_shape.end());
    at::Tensor tensor = at::empty(shape, at::kFloat);
    const Bytes bytes = tensor.nbytes() / part.size();
    auto* to = static_cast<std::byte*>(tensor.data_ptr());
    for (const auto row : part) {
      gathered.copies.push_back({to, features.row(row), bytes});
      to += bytes;
    }
    gathered.tensors.push_back(std::move(tensor));
  }
  return gathered;
}

std::vector<CopyRequest> scatter_rows(Features& features, std::span<const std::uint32_t> rows,
                                      std::span<const at::Tensor> tensors) {
  std::vector<CopyRequest> copies;
  std::size_t next = 0;
  for (const auto& tensor : tensors) {
    const auto count = static_cast<std::size_t>(tensor.size(0));
    const Bytes bytes = tensor.nbytes() / count;
    const auto* from = static_cast<const std::byte*>(tensor.data_ptr());
    require(bytes <= features.row_bytes(), "a row of ", bytes, " bytes where there is room for ", features.row_bytes());
    for (std::size_t i = 0; i < count; ++i) copies.push_back({features.row(rows[next++]), from + i * bytes, bytes});
  }
  require(next == rows.size(), next, " rows of activations for ", rows.size());
  return copies;
}

std::vector<std::int64_t> row_shape_of(std::span<const at::Tensor> tensors) {
  return tensors.front().sizes().slice(1).vec();
}

}  // namespace hopyard
