#include "runtime/validation_data.h"

#include "base/failure.h"

namespace hopyard {

namespace {

/// Rows below `rows` in the partitions that they lie in.
Partitions all_rows(const ValidationData& data) {
  return data.cut ? data.cut->partitions(0) : Partitions::laid_out({0, data.rows}, 0);
}

Partitions rows_of(const ValidationData& data, const RowGroups::Group& group) {
  std::vector<std::vector<std::uint32_t>> parts(data.cut ? data.cut->count() : 1);
  parts[group.partition] = group.rows;
  return Partitions::of_parts(parts, 0);
}

void group(ValidationData& data, const std::string& column) {
  data.groups = data.cut ? std::make_shared<const RowGroups>(*data.cut, column)
                         : std::make_shared<const RowGroups>(*data.data, column, data.rows);
  for (const auto& one : data.groups->groups())
    data.partitions[one.value] = std::make_shared<const Partitions>(rows_of(data, one));
}

[[noreturn]] void refuse_lonely(const RowGroups::Group& group, const char* there, const char* missing,
                                const Dataset& data) {
  fail(ExitCode::input, "data.group_by: group ", group.value, " has ", group.rows.size(), " ", there,
       " rows and none in ", data.folder(), ", so that no model of it can be ", missing,
       "; prepare data in which each group has both, or leave the group out");
}

}  // namespace

std::shared_ptr<const Partitions> ValidationData::of(const TrialSpec& trial) const {
  const auto group = trial.replicate ? trial.replicate->row_group : std::nullopt;
  const auto found = partitions.find(group);
  if (found == partitions.end())
    fail(ExitCode::input, "data.group_by: ", data->folder(), " has no row of group ", group.value_or(0), ", which ",
         trial.id, " is of");
  return found->second;
}

ValidationData open_validation_data(const ExperimentConfig& config, const std::string& folder, const std::string& key,
                                    std::uint32_t rows, const WorkerPlace& place) {
  ValidationData data;
  if (PartitionSet::is_one(folder)) {
    data.cut = std::make_shared<const PartitionSet>(folder);
    if (rows != 0) fail(ExitCode::usage, key, "_rows: ", folder, " was cut, and all its rows are used; write all");
    data.rows = data.cut->rows();
    data.data = data.cut->open(placement_of(config, data.cut->count(), place.workers, true).partitions_of(place.rank));
  } else {
    data.data = std::make_shared<const Dataset>(folder);
    data.rows = rows_to_use(*data.data, rows, (key + "_rows").c_str());
  }
  if (config.data.group_by.empty())
    data.partitions[std::nullopt] = std::make_shared<const Partitions>(all_rows(data));
  else
    group(data, config.data.group_by);
  return data;
}

std::vector<RowGroup> row_groups_of(const TrainingData& train, const ValidationData& valid) {
  std::vector<RowGroup> groups;
  if (!train.groups) return groups;
  for (const auto& one : train.groups->groups()) {
    const RowGroups::Group* judged = valid.groups->find(one.value);
    if (judged == nullptr) refuse_lonely(one, "training", "judged", *valid.data);
    groups.push_back(
        {one.value, static_cast<std::uint32_t>(one.rows.size()), static_cast<std::uint32_t>(judged->rows.size())});
  }
  for (const auto& one : valid.groups->groups())
    if (train.groups->find(one.value) == nullptr) refuse_lonely(one, "validation", "trained", *train.data);
  return groups;
}

ExperimentConfig with_row_groups(ExperimentConfig config) {
  if (config.data.group_by.empty()) return config;
  const TrainingData train = open_training_data(config, {});
  config.search.row_groups =
      row_groups_of(train, open_validation_data(config, config.data.valid, "data.valid", config.data.valid_rows, {}));
  return config;
}

}  // namespace hopyard
