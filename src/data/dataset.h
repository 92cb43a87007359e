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
  bool operator==(const ColumnInfo&) const = default;
};

/// A folder made by tools/prepare_*.py. Opening checks every part: columns, dtypes, lengths, the row counts that
/// dataset.json claims. Failure(input) names the file. Thread-safe after construction.
class Dataset {
 public:
  explicit Dataset(const std::string& folder);
  /// One table of `rows` rows out of several folders with equal columns, labels and vocabulary, in the order of their
  /// first rows. What lies between them is elsewhere and may not be asked for. `name` stands for it in sentences.
  struct Piece {
    std::string folder;
    std::uint32_t first_row = 0;
  };
  Dataset(const std::string& name, std::uint32_t rows, std::span<const Piece> pieces);

  std::uint32_t rows() const { return rows_; }
  /// Whether the row is in one of the pieces; of a whole folder, all are.
  bool has(std::uint32_t row) const;
  /// The first so many rows that are here, or all that are.
  std::vector<std::uint32_t> first_rows(std::uint32_t count) const;
  const std::vector<ColumnInfo>& columns() const { return columns_; }
  const ColumnInfo* find(const std::string& column) const;
  const std::vector<std::string>& label_names() const { return label_names_; }
  std::int64_t vocabulary() const { return vocabulary_; }  ///< 0 when unknown
  const std::string& folder() const { return folder_; }

  /// Copies the rows' values of a column, converted: integers to int64, anything to float32. `out` has rows × items
  /// values. Failure(input) when there is no such column, or it holds floats where int64 is asked for.
  void gather(const std::string& column, std::span<const std::uint32_t> rows, std::span<std::int64_t> out) const;
  void gather(const std::string& column, std::span<const std::uint32_t> rows, std::span<float> out) const;

  /// Copies the rows' bytes of a column as they are stored: rows × bytes_of_row(column).
  void copy_rows(const ColumnInfo& column, std::span<const std::uint32_t> rows, std::span<std::byte> out) const;
  static Bytes bytes_of_row(const ColumnInfo& column);

  /// Reads the first `rows` rows' values of an integer column once, as far as they are here, and fails, naming file,
  /// row and value, when one is outside [low, high).
  void check_range(const std::string& column, std::uint32_t rows, std::int64_t low, std::int64_t high) const;

 private:
  struct RowPlace {
    std::size_t part;
    std::uint32_t row;  ///< within the part
  };
  void open_parts(const Json& json, const std::string& file);
  void take_over(Dataset piece, const Piece& place);
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
  std::vector<std::uint32_t> part_begin_, part_end_;  // rows of each part, ascending
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
  /// Rows that lie in the order of such a shuffle: partition p has those from begin[p] to begin[p + 1]. With the seed
  /// of the shuffle, order() names the same rows in the same order as Partitions of the rows as they lay before.
  static Partitions laid_out(std::vector<std::uint32_t> begin, std::uint64_t seed);
  /// These rows of each partition, in the order of a shuffle; some may have none, and then count() has them still.
  static Partitions of_parts(const std::vector<std::vector<std::uint32_t>>& parts, std::uint64_t seed);
  /// Partitions that have rows, ascending: a trial visits these.
  const std::vector<std::uint32_t>& to_visit() const { return to_visit_; }
  /// Row numbers in the order of the shuffle, partition by partition.
  std::span<const std::uint32_t> shuffled(std::uint32_t partition) const {
    return std::span(shuffled_).subspan(begin_[partition], rows(partition));
  }
  /// The order in which an epoch visits a partition's rows: follows from (seed, epoch, partition).
  std::vector<std::uint32_t> order(std::uint32_t partition, std::uint32_t epoch) const;
  /// The rows of each partition, ascending.
  std::vector<std::vector<std::uint32_t>> members() const;

 private:
  Partitions() = default;
  void set_bounds(std::vector<std::uint32_t> begin);

  std::uint64_t seed_ = 0;
  std::vector<std::uint32_t> shuffled_;
  std::vector<std::uint32_t> begin_, to_visit_;
};

/// Cuts rows into batches; the last, smaller one is kept.
std::uint64_t batch_count(std::uint64_t rows, std::uint64_t batch_size);

}  // namespace hopyard
