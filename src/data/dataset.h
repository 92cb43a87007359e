// Prepared data folders (dataset.json + part-*.safetensors), mapped into memory, and the rows that a visit trains on.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/safetensors.h"

namespace hopyard {

struct ColumnInfo {
  std::string name;
  Dtype dtype = Dtype::i32;
  std::vector<std::int64_t> shape;  ///< of one row; empty for a scalar
};

/// A folder made by tools/prepare_*.py. Opening checks every part: columns, dtypes, lengths, the row counts that
/// dataset.json claims. Failure(input) names the file. Thread-safe after construction.
class Dataset {
 public:
  explicit Dataset(const std::string& folder);
  std::uint32_t rows() const { return rows_; }
  const std::vector<ColumnInfo>& columns() const { return columns_; }
  const ColumnInfo* find(const std::string& column) const;
  const std::vector<std::string>& label_names() const { return label_names_; }
  std::int64_t vocabulary() const { return vocabulary_; }  ///< 0 when unknown
  const std::string& folder() const { return folder_; }

  /// Copies the rows' values of a column, converted: integers to int64, anything to float32. `out` has rows × items
  /// values. Failure(input) when there is no such column, or it holds floats where int64 is asked for.
  void gather(const std::string& column, std::span<const std::uint32_t> rows, std::span<std::int64_t> out) const;
  void gather(const std::string& column, std::span<const std::uint32_t> rows, std::span<float> out) const;

  /// Reads the first `rows` rows' values of an integer column once and fails, naming file, row and value, when one is
  /// outside [low, high).
  void check_range(const std::string& column, std::uint32_t rows, std::int64_t low, std::int64_t high) const;

 private:
  struct RowPlace {
    std::size_t part;
    std::uint32_t row;  ///< within the part
  };
  void open_parts(const Json& json, const std::string& file);
  const ColumnInfo& column_or_fail(const std::string& column) const;
  RowPlace place_of(std::uint32_t row) const;
  std::span<const std::byte> row_bytes(const ColumnInfo& column, std::uint32_t row) const;
  template <class Out>
  void gather_as(const ColumnInfo& column, std::span<const std::uint32_t> rows, std::span<Out> out) const;

  std::string folder_;
  std::uint32_t rows_ = 0;
  std::int64_t vocabulary_ = 0;
  std::vector<ColumnInfo> columns_;
  std::vector<std::string> label_names_;
  std::vector<SafetensorsFile> parts_;
  std::vector<std::uint32_t> part_begin_;  // first row of each part, then rows_
};

/// `rows` chosen rows cut into `count` disjoint partitions by a shuffle that follows from the seed; sizes differ by at
/// most one. Training on fewer rows than the set has takes the first `rows` rows of the file, as PyTorch users expect
/// of a truncated set. Failure(usage) when there are more partitions than rows, or none.
class Partitions {
 public:
  Partitions(std::uint32_t rows, std::uint32_t count, std::uint64_t seed);
  /// Of these rows of the set, of which some may stand there twice.
  Partitions(const std::vector<std::uint32_t>& rows, std::uint32_t count, std::uint64_t seed);
  std::uint32_t count() const { return static_cast<std::uint32_t>(begin_.size()) - 1; }
  std::uint32_t rows(std::uint32_t partition) const { return begin_[partition + 1] - begin_[partition]; }
  std::uint32_t rows() const { return begin_.back(); }  ///< of all partitions
  /// The order in which an epoch visits a partition's rows: follows from (seed, epoch, partition).
  std::vector<std::uint32_t> order(std::uint32_t partition, std::uint32_t epoch) const;
  /// The rows of each partition, ascending.
  std::vector<std::vector<std::uint32_t>> members() const;

 private:
  std::uint64_t seed_;
  std::vector<std::uint32_t> shuffled_;
  std::vector<std::uint32_t> begin_;
};

/// Cuts rows into batches; the last, smaller one is kept.
std::uint64_t batch_count(std::uint64_t rows, std::uint64_t batch_size);

}  // namespace hopyard
