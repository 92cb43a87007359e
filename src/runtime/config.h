// A config file as typed values. docs/CONFIG.md explains every key.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/trial.h"
#include "data/data_spec.h"
#include "device/device_spec.h"
#include "formats/yaml.h"
#include "hopper/visit_scheduler.h"
#include "model/model_spec.h"
#include "pipeline/train_spec.h"
#include "select/search.h"

namespace hopyard {

/// The `workers` part: how several processes share an experiment.
struct WorkersSpec {
  /// What bulk bytes go over: Gloo, from host memory to host memory, or NCCL, from card to card.
  enum class Links { gloo, nccl };
  std::uint32_t replication = 0;  ///< homes of each partition; 0: as many as its trials need, at least two
  std::uint32_t state_replicas = 2;
  double wait_for_worker_s = 600;
  std::string bind = "127.0.0.1";
  std::string secret_file;  ///< may be empty
  Links links = Links::gloo;
  VisitSchedulerKind scheduler = VisitSchedulerKind::patient;  ///< of data.order: free; or task, of either
  bool operator==(const WorkersSpec&) const = default;
};

/// What the trials ask of workers that train together, over all that is searched.
struct TeamsAsked {
  std::uint32_t degree_max = 1;  ///< of train.data_parallel
  bool exact = true;             ///< one worker would give the same bits
  bool operator==(const TeamsAsked&) const = default;
};

struct ExperimentConfig {
  std::string name;  ///< also the name of the default run directory
  std::uint64_t seed = 0;
  DataSpec data;
  SearchSpec search;
  std::vector<Dimension> space;  ///< in the order of the file, which is the order of the trials
  std::vector<DeviceSpec> devices;
  Bytes host_memory = 0;
  std::string disk_path = "spill";  ///< below the run directory unless absolute
  Bytes disk_capacity = 0;
  ExecuteSpec execute;
  WorkersSpec workers;
  TeamsAsked teams;
  bool tf32 = false;  ///< the products of float32 trials are rounded: one switch for the process, so for all of them
  YamlNode tree;      ///< as written, after --set; `model` and `train` are read from it for each trial
};

/// One trial's part of the config, nothing left to search.
struct TrialConfig {
  ModelSpec model;
  TrainSpec train;
  std::uint32_t rows = 0;  ///< train.rows: trains on the first so many of data.train_rows; 0: on all
  bool operator==(const TrialConfig&) const = default;
};

/// Reads a config and sets the overrides (path, value) in it, in their order. Every searched value is tried (of ranges
/// the ends and one between), so that no trial fails later for its settings. Touches no other file. Failure(usage):
/// "<file_name>:LINE:COLUMN: …", or "--set: …" for what an override brought.
ExperimentConfig parse_config(const std::string& yaml_text, const std::string& file_name,
                              const std::vector<std::pair<std::string, std::string>>& overrides);

/// Failure(usage) when a rung would end within a sub-epoch.
void check_rungs(const SearchSpec& search, std::uint32_t partitions);

/// The trial's model and training, with its settings in place of the searched values.
TrialConfig resolve_trial(const ExperimentConfig& config, const TrialSpec& trial);

/// The config with every default written out; parses back to an equal one, and its own resolved form is itself.
std::string resolved_yaml(const ExperimentConfig& config);

/// The resources with every default written out, however they were written: tells whether a run goes on under others.
std::string resources_text(const ExperimentConfig& config);

/// Over all that decides results (everything but name, resources, execute and workers), however it was written: tells
/// whether a run directory belongs to this config. 32 hexadecimal digits.
std::string config_digest(const ExperimentConfig& config);

}  // namespace hopyard
