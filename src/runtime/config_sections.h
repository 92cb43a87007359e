// The sections of a config, each read from its map; private to this folder.
#pragma once

#include "runtime/config.h"
#include "runtime/yaml_reader.h"

namespace hopyard {

inline constexpr const char* kAuto = "auto";  ///< written where Hopyard chooses
inline constexpr const char* kAll = "all";    ///< written for all rows
inline constexpr const char* kNone = "none";

DataSpec read_data(MapReader map);
/// `task` decides which metrics there are.
SearchSpec read_search(MapReader map, ModelTask task);
/// devices, host_memory and disk.
void read_resources(MapReader map, ExperimentConfig& config);
ExecuteSpec read_execute(MapReader map);
/// `order` decides whether there is a scheduler to choose.
WorkersSpec read_workers(MapReader map, DataSpec::Order order);
/// Requires a tree without searched values.
ModelSpec read_model(MapReader map);
/// `rows`: how many of the training rows; stays as it is where the config does not say.
TrainSpec read_train(MapReader map, std::uint32_t& rows);

/// Those that there are, as the config names them: "valid/accuracy".
std::vector<std::string> metrics_of(ModelTask task);
/// The metric that a task's trials are compared by unless the config says otherwise.
std::string default_metric(ModelTask task);

/// Adds what the tree leaves out, written as a config would.
void add_defaults(YamlNode& tree, const ExperimentConfig& config, const TrialConfig& first_trial);

/// "ordered", "all-reduce", "server".
std::string to_string(DataParallelSpec::Sum sum);

}  // namespace hopyard
