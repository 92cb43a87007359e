#include "data/row_groups.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/failure.h"
#include "data/dataset.h"
#include "data/partition_set.h"
#include "formats/printable.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kRowsAtATime = 4096;

void refuse_other_columns(const Dataset& data, const std::string& column) {
  const ColumnInfo* info = data.find(column);
  if (info == nullptr) {
    std::vector<std::string> names;
    for (const ColumnInfo& known : data.columns()) names.push_back(printable(known.name));
    fail(ExitCode::input, "data.group_by: ", data.folder(), " has no column ", printable(column), "; there are ",
         text::join(names, ", "));
  }
  if (!info->shape.empty() || is_float(info->dtype))
    fail(ExitCode::input, "data.group_by: column ", printable(column), " of ", data.folder(), " holds ",
         info->shape.empty() ? "one" : "several", " ", dtype_name(info->dtype),
         " a row, and groups need one whole number; prepare it with tools/prepare_text.py --group-column");
}

}  // namespace

RowGroups::RowGroups(const Dataset& data, const std::string& column, std::uint32_t rows) {
  refuse_other_columns(data, column);
  std::map<std::int64_t, std::vector<std::uint32_t>> by_value;
  std::vector<std::uint32_t> numbers;
  std::vector<std::int64_t> values;
  for (std::uint32_t begin = 0; begin < rows; begin += kRowsAtATime) {
    numbers.resize(std::min(kRowsAtATime, rows - begin));
    std::iota(numbers.begin(), numbers.end(), begin);
    values.resize(numbers.size());
    data.gather(column, numbers, values);
    for (std::size_t i = 0; i < numbers.size(); ++i) by_value[values[i]].push_back(numbers[i]);
    if (by_value.size() > kRowGroupsMax)
      fail(ExitCode::input, "data.group_by: column ", printable(column), " of ", data.folder(), " has more than ",
           kRowGroupsMax, " values, and each would be a model of its own; group by a coarser column");
  }
  for (auto& [value, group] : by_value) groups_.push_back({value, 0, std::move(group)});
}

RowGroups::RowGroups(const PartitionSet& set, const std::string& column) {
  const PartitionManifest& manifest = set.manifest();
  if (manifest.group_by != column)
    fail(ExitCode::input, "data.group_by: ", set.folder(), " was cut ",
         manifest.group_by.empty() ? "without regard to groups" : "by " + printable(manifest.group_by),
         ", so that no worker need have all rows of a group; cut it with `hopyard partition --group-by=", column, "`");
  for (std::uint32_t p = 0; p < set.count(); ++p) {
    std::uint32_t begin = manifest.partitions[p].begin;
    for (const PartitionGroup& known : manifest.partitions[p].groups) {
      Group& group = groups_.emplace_back(known.value, p, std::vector<std::uint32_t>(known.rows));
      std::iota(group.rows.begin(), group.rows.end(), begin);
      begin += known.rows;
    }
  }
  std::sort(groups_.begin(), groups_.end(), [](const Group& a, const Group& b) { return a.value < b.value; });
}

const RowGroups::Group* RowGroups::find(std::int64_t value) const {
  const auto found = std::lower_bound(groups_.begin(), groups_.end(), value,
                                      [](const Group& group, std::int64_t wanted) { return group.value < wanted; });
  return found == groups_.end() || found->value != value ? nullptr : &*found;
}

std::vector<std::uint32_t> pack_groups(const std::vector<std::uint32_t>& rows, std::uint32_t partitions) {
  require(partitions > 0, "groups of rows without a partition");
  std::vector<std::uint32_t> largest_first(rows.size()), places(rows.size());
  std::iota(largest_first.begin(), largest_first.end(), 0u);
  std::stable_sort(largest_first.begin(), largest_first.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return rows[a] > rows[b]; });
  std::vector<std::uint64_t> filled(partitions);
  for (const std::uint32_t group : largest_first) {
    const auto least = std::min_element(filled.begin(), filled.end());
    *least += rows[group];
    places[group] = static_cast<std::uint32_t>(least - filled.begin());
  }
  return places;
}

}  // namespace hopyard
