#include "data/dataset.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/failure.h"
#include "formats/printable.h"

namespace hopyard {

namespace {

std::int64_t items_of(const ColumnInfo& column) {
  std::int64_t items = 1;
  for (const std::int64_t size : column.shape) items *= size;
  return items;
}

template <class Stored, class Out>
void widen(std::span<const std::byte> in, std::span<Out> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, in.data() + i * sizeof stored, sizeof stored);
    out[i] = static_cast<Out>(stored);
  }
}

template <class Out>
void widen_integers(Dtype dtype, std::span<const std::byte> in, std::span<Out> out) {
  switch (dtype) {
    case Dtype::boolean:
    case Dtype::u8:
      return widen<std::uint8_t>(in, out);
    case Dtype::i8:
      return widen<std::int8_t>(in, out);
    case Dtype::i16:
      return widen<std::int16_t>(in, out);
    case Dtype::i32:
      return widen<std::int32_t>(in, out);
    case Dtype::i64:
      return widen<std::int64_t>(in, out);
    default:
      require(false, "widen_integers of ", dtype_name(dtype));
  }
}

void convert(Dtype dtype, std::span<const std::byte> in, std::span<std::int64_t> out) {
  widen_integers(dtype, in, out);
}
void convert(Dtype dtype, std::span<const std::byte> in, std::span<float> out) {
  return is_float(dtype) ? convert_to_f32(dtype, in, out) : widen_integers(dtype, in, out);
}

}  // namespace

const ColumnInfo* Dataset::find(const std::string& column) const {
  for (const auto& info : columns_)
    if (info.name == column) return &info;
  return nullptr;
}

const ColumnInfo& Dataset::column_or_fail(const std::string& column) const {
  if (const ColumnInfo* info = find(column)) return *info;
  std::vector<std::string> names;
  for (const auto& info : columns_) names.push_back(printable(info.name));
  fail(ExitCode::input, folder_, ": has no column ", printable(column), "; there are ", text::join(names, ", "));
}

bool Dataset::has(std::uint32_t row) const {
  const auto after = std::upper_bound(part_end_.begin(), part_end_.end(), row);
  return after != part_end_.end() && row >= part_begin_[static_cast<std::size_t>(after - part_end_.begin())];
}

std::vector<std::uint32_t> Dataset::first_rows(std::uint32_t count) const {
  std::vector<std::uint32_t> rows;
  for (std::size_t part = 0; part < part_begin_.size(); ++part)
    for (std::uint32_t row = part_begin_[part]; row < part_end_[part] && rows.size() < count; ++row)
      rows.push_back(row);
  return rows;
}

Dataset::RowPlace Dataset::place_of(std::uint32_t row) const {
  require(has(row), "row ", row, " of ", rows_, " in ", folder_);
  const auto after = std::upper_bound(part_end_.begin(), part_end_.end(), row);
  const auto part = static_cast<std::size_t>(after - part_end_.begin());
  return {part, row - part_begin_[part]};
}

std::span<const std::byte> Dataset::row_bytes(const ColumnInfo& column, std::uint32_t row) const {
  const RowPlace place = place_of(row);
  const SafetensorsFile& part = parts_[place.part];
  const Bytes bytes = bytes_of_row(column);
  return part.bytes(*part.find(column.name)).subspan(place.row * bytes, bytes);
}

Bytes Dataset::bytes_of_row(const ColumnInfo& column) {
  return static_cast<Bytes>(items_of(column)) * dtype_bytes(column.dtype);
}

void Dataset::copy_rows(const ColumnInfo& column, std::span<const std::uint32_t> rows, std::span<std::byte> out) const {
  const Bytes bytes = bytes_of_row(column);
  require(out.size() == rows.size() * bytes, "copy of ", rows.size(), " rows of ", bytes, " bytes into ", out.size());
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::memcpy(out.data() + i * bytes, row_bytes(column, rows[i]).data(), bytes);
}

template <class Out>
void Dataset::gather_as(const ColumnInfo& column, std::span<const std::uint32_t> rows, std::span<Out> out) const {
  const auto items = static_cast<std::size_t>(items_of(column));
  require(out.size() == rows.size() * items, "gather of ", rows.size(), " rows of ", items, " into ", out.size(),
          " values");
  for (std::size_t i = 0; i < rows.size(); ++i)
    convert(column.dtype, row_bytes(column, rows[i]), out.subspan(i * items, items));
}

void Dataset::gather(const std::string& column, std::span<const std::uint32_t> rows,
                     std::span<std::int64_t> out) const {
  const ColumnInfo& info = column_or_fail(column);
  if (is_float(info.dtype))
    fail(ExitCode::input, folder_, ": column ", printable(column), " holds ", dtype_name(info.dtype),
         " where whole numbers are needed");
  gather_as(info, rows, out);
}

void Dataset::gather(const std::string& column, std::span<const std::uint32_t> rows, std::span<float> out) const {
  gather_as(column_or_fail(column), rows, out);
}

void Dataset::check_range(const std::string& column, std::uint32_t rows, std::int64_t low, std::int64_t high) const {
  const ColumnInfo& info = column_or_fail(column);
  std::vector<std::int64_t> values(static_cast<std::size_t>(items_of(info)));
  for (std::uint32_t row = 0; row < std::min(rows, rows_); ++row) {
    if (!has(row)) continue;
    gather(column, std::span(&row, 1), values);
    for (const std::int64_t value : values) {
      if (value >= low && value < high) continue;
      const RowPlace place = place_of(row);
      fail(ExitCode::input, parts_[place.part].path(), ": row ", place.row, " of column ", printable(column), " holds ",
           value, ", which is not from ", low, " to ", high - 1);
    }
  }
}

}  // namespace hopyard
