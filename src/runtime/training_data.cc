#include "runtime/training_data.h"

#include <algorithm>

#include "base/failure.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kHomes = 2;  // of a partition, where nothing asks for more

/// `partitions`: that a trial visits.
void refuse_for_cut_data(const ExperimentConfig& config, const PartitionSet& set, std::uint32_t partitions) {
  const auto& folder = set.folder();
  if (config.data.train_rows != 0)
    fail(ExitCode::usage, "data.train_rows: ", folder, " was cut, and all its rows are used; write all");
  if (config.search.resamples != 0)
    fail(ExitCode::usage, "search.resamples: rows of ", folder, ", which was cut, cannot be drawn anew; write none");
  if (config.data.partitions != 0 && config.data.partitions != partitions)
    fail(ExitCode::usage, "data.partitions: ", config.data.partitions, " are asked for and ", folder, " was cut into ",
         set.count(), config.data.group_by.empty() ? "" : ", of which each group has one", "; write auto");
  check_rungs(config.search, partitions);
}

TrainingData open_cut(const ExperimentConfig& config, const WorkerPlace& place) {
  TrainingData data;
  data.cut = std::make_shared<const PartitionSet>(config.data.train);
  const std::string& column = config.data.group_by;
  if (!column.empty()) data.groups = std::make_shared<const RowGroups>(*data.cut, column);
  data.partitions = column.empty() ? data.cut->count() : 1;
  refuse_for_cut_data(config, *data.cut, data.partitions);
  data.rows = data.cut->rows();
  data.data = data.cut->open(placement_of(config, data.cut->count(), place.workers, true).partitions_of(place.rank));
  return data;
}

/// A team meets at a partition's homes; what trains whole trials in one place needs all partitions there.
void check_homes(const ExperimentConfig& config, const Placement& placement) {
  const std::size_t homes = placement.homes.front().size();
  const std::uint32_t workers = placement.workers, degree = config.teams.degree_max;
  if (config.workers.scheduler == VisitSchedulerKind::task && homes < workers)
    fail(ExitCode::usage, "workers.replication: ", homes, " of ", workers, " workers have each partition, and with ",
         "scheduler: task a trial stays where it began; write ", workers, " or auto");
  if (degree > homes)
    fail(ExitCode::usage, "workers.replication: ", homes, " workers have each partition, and ",
         "train.data_parallel.degree asks for ", degree, " that train there together; write ", degree, " or auto");
}

}  // namespace

std::uint32_t rows_to_use(const Dataset& data, std::uint32_t wanted, const char* key) {
  if (wanted > data.rows())
    fail(ExitCode::usage, key, ": ", wanted, " rows are asked for and ", data.folder(), " has ", data.rows());
  return wanted == 0 ? data.rows() : wanted;
}

TrainingData open_training_data(const ExperimentConfig& config, const WorkerPlace& place) {
  if (place.several()) check_workers(config, place.workers);
  if (PartitionSet::is_one(config.data.train)) return open_cut(config, place);
  TrainingData data;
  data.data = std::make_shared<const Dataset>(config.data.train);
  data.rows = rows_to_use(*data.data, config.data.train_rows, "data.train_rows");
  data.partitions = config.data.partitions;
  if (const auto& column = config.data.group_by; !column.empty())
    data.groups = std::make_shared<const RowGroups>(*data.data, column, data.rows);
  return data;
}

void check_workers(const ExperimentConfig& config, std::uint32_t workers) {
  const TeamsAsked& teams = config.teams;
  if (workers == 1) {
    if (teams.exact) return;
    fail(ExitCode::usage, "train.data_parallel: ", teams.degree_max, " workers are to sum gradients in a way that has ",
         "bits of its own, and there is one worker; start as many (tools/workers), or write sum: ordered, which one ",
         "worker trains to the same bits");
  }
  if (teams.degree_max > workers)
    fail(ExitCode::usage, "train.data_parallel.degree: ", teams.degree_max,
         " workers are to train a trial together, and there are ", workers);
  if (PartitionSet::is_one(config.data.valid)) {
    const PartitionSet valid(config.data.valid);
    valid.check_workers(workers);
    placement_of(config, valid.count(), workers, true);
  }
  const bool cut = PartitionSet::is_one(config.data.train);
  std::uint32_t partitions = config.data.partitions;
  if (cut) {
    const PartitionSet set(config.data.train);
    set.check_workers(workers);
    partitions = set.count();
  } else if (partitions == 0) {
    fail(ExitCode::usage, "data.partitions: several workers cannot each decide it; write a number, at least ", workers,
         ", or cut the data with `hopyard partition`");
  }
  check_homes(config, placement_of(config, partitions, workers, cut));  // which refuses what cannot be placed
}

Placement placement_of(const ExperimentConfig& config, std::uint32_t partitions, std::uint32_t workers, bool cut) {
  const WorkersSpec& spec = config.workers;
  if (workers == 1) return place_partitions(partitions, 1, 1);  // also of what several workers trained
  if (spec.replication != 0) return place_partitions(partitions, workers, spec.replication);
  const bool all = !cut || spec.scheduler == VisitSchedulerKind::task;
  const TeamsAsked& teams = config.teams;
  // What is not exact waits where a home of its team is missing, so there is one to spare.
  const std::uint32_t for_teams = teams.degree_max + (teams.exact ? 0 : 1);
  return place_partitions(partitions, workers, all ? workers : std::min(std::max(kHomes, for_teams), workers));
}

}  // namespace hopyard
