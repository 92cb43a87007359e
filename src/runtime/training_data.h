// The training data of an experiment, as much of them as a worker has.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/partition_set.h"
#include "data/row_groups.h"
#include "hopper/placement.h"
#include "runtime/config.h"

namespace hopyard {

/// Which of the workers of an experiment this process is.
struct WorkerPlace {
  std::uint32_t rank = 0, workers = 1;
  std::uint32_t local_rank = 0;  ///< among the workers of this machine
  bool several() const { return workers > 1; }
};

struct TrainingData {
  std::shared_ptr<const PartitionSet> cut;  ///< null where they were not cut
  std::shared_ptr<const Dataset> data;      ///< all rows; of data that were cut, those of this worker's partitions
  std::uint32_t rows = 0;                   ///< that trials may use
  std::shared_ptr<const RowGroups> groups;  ///< of data.group_by, of all rows; null without it
  /// That each trial visits in an epoch; 0: to be decided. Of data that were cut by groups one, which has its group.
  std::uint32_t partitions = 0;
  /// That there are, wherever they are.
  std::uint32_t all_partitions() const { return cut ? cut->count() : partitions; }
};

/// Opens what the worker is home of, and checks it. Failure(usage) when the config asks for what data that were cut
/// cannot give, or leaves to several workers what each would decide in its own way.
TrainingData open_training_data(const ExperimentConfig& config, const WorkerPlace& place);

/// Failure, before any data are opened, when so many workers cannot have the partitions among them, or not train the
/// trials together as they are to be: of input for data that were cut into fewer, else of usage.
void check_workers(const ExperimentConfig& config, std::uint32_t workers);

/// Which workers are home of which partitions. `cut`: each has files of its own.
Placement placement_of(const ExperimentConfig& config, std::uint32_t partitions, std::uint32_t workers, bool cut);

/// The first `wanted` rows, or all where that is 0; `key` names them. Failure(usage) when there are fewer.
std::uint32_t rows_to_use(const Dataset& data, std::uint32_t wanted, const char* key);

}  // namespace hopyard
