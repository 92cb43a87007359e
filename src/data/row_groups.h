// Groups of rows that are alike in one column, for which models are trained apart (data.group_by).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hopyard {

class Dataset;
class PartitionSet;

inline constexpr std::uint32_t kRowGroupsMax = 1000;

/// The rows of a data set by the value of a column of whole numbers, one for each row. Immutable.
class RowGroups {
 public:
  struct Group {
    std::int64_t value = 0;
    std::uint32_t partition = 0;      ///< that has it, whole; 0 where data were not cut
    std::vector<std::uint32_t> rows;  ///< ascending
    bool operator==(const Group&) const = default;
  };

  /// Of the first `rows` rows. Failure(input) names the folder when there is no such column, it holds anything else, or
  /// has more than kRowGroupsMax values.
  RowGroups(const Dataset& data, const std::string& column, std::uint32_t rows);
  /// Of data that were cut by this column: partitions.json says it all, whichever partitions are here. Failure(input)
  /// when they were cut otherwise.
  RowGroups(const PartitionSet& set, const std::string& column);

  const std::vector<Group>& groups() const { return groups_; }  ///< by value, ascending
  const Group* find(std::int64_t value) const;

 private:
  std::vector<Group> groups_;
};

/// Partitions for whole groups of so many rows each: the largest first, each goes to the partition with the fewest rows
/// (Graham's longest processing time first, 1969), so that none has more than 4/3 of the least possible. Every
/// partition gets one where there are as many groups. Equal groups keep their order.
std::vector<std::uint32_t> pack_groups(const std::vector<std::uint32_t>& rows, std::uint32_t partitions);

}  // namespace hopyard
