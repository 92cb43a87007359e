// The rows that trials are judged on, as much of them as a worker has.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/trial.h"
#include "data/row_groups.h"
#include "runtime/training_data.h"

namespace hopyard {

struct ValidationData {
  std::shared_ptr<const PartitionSet> cut;  ///< null where they were not cut
  std::shared_ptr<const Dataset> data;      ///< all rows; of data that were cut, those of this worker's partitions
  std::uint32_t rows = 0;                   ///< that trials may be judged on
  std::shared_ptr<const RowGroups> groups;  ///< of data.group_by; null without it
  /// By group of rows, without groups under nothing: those of its rows that lie in each partition.
  std::map<std::optional<std::int64_t>, std::shared_ptr<const Partitions>> partitions;

  /// What the trial is judged on. Failure(input) when its group has no row here.
  std::shared_ptr<const Partitions> of(const TrialSpec& trial) const;
};

/// Opens what the worker is home of, and checks it. `key` names the rows in sentences: "data.valid". Failure(usage)
/// when `rows` (0: all) are asked for and data that were cut, or fewer, are there.
ValidationData open_validation_data(const ExperimentConfig& config, const std::string& folder, const std::string& key,
                                    std::uint32_t rows, const WorkerPlace& place);

/// The groups that trials are trained for, with their sizes; none without data.group_by. Failure(input) when one has no
/// training rows or none to be judged on.
std::vector<RowGroup> row_groups_of(const TrainingData& train, const ValidationData& valid);

/// The config with the groups that its data have, for what asks the search alone.
ExperimentConfig with_row_groups(ExperimentConfig config);

}  // namespace hopyard
