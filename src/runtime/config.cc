#include "runtime/config.h"

#include <algorithm>
#include <set>

#include "base/failure.h"
#include "formats/digest.h"
#include "runtime/config_sections.h"
#include "runtime/search_space.h"

namespace hopyard {

namespace {

constexpr std::int64_t kVersion = 1;
constexpr std::size_t kNameBytesMax = 100;

void read_version(MapReader& top) {
  const ValueReader version = top.at("version");
  const std::int64_t number = version.whole(0, 1'000'000);
  if (number != kVersion)
    version.refuse(text::cat("= ", number, " is not supported; this build reads version ", kVersion));
}

/// The name becomes a folder's.
std::string read_name(const ValueReader& value) {
  const std::string name = value.text();
  const bool plain =
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == name.npos;
  if (!plain || name[0] == '.' || name[0] == '-' || name.size() > kNameBytesMax)
    value.refuse(text::cat("must be at most ", kNameBytesMax,
                           " letters, digits, '_', '-' and '.', beginning with a letter, digit or '_', found '", name,
                           "'"));
  return name;
}

TrialConfig read_trial(const std::string& file, const YamlNode& tree) {
  MapReader top(file, tree, "");
  TrialConfig trial;
  trial.model = read_model(top.at("model").map());
  trial.train = read_train(top.section("train"), trial.rows);
  return trial;
}

std::vector<Dimension> dimensions_of(const std::vector<SearchedValue>& space) {
  std::vector<Dimension> dimensions;
  for (const auto& searched : space) dimensions.push_back(searched.dimension);
  return dimensions;
}

/// Refuses one path searched for all trials of a kind, wherever it is searched.
void refuse_searched(const std::string& file, const std::vector<SearchedValue>& space, const std::string& path,
                     const std::string& sentence) {
  for (const auto& searched : space)
    for (const Probe& probe : searched.probes)
      for (const auto& [probed_path, node] : probe)
        if (probed_path == path) ValueReader(file, node, path).refuse(sentence);
}

void note(const DataParallelSpec& spec, TeamsAsked& teams) {
  teams.degree_max = std::max(teams.degree_max, spec.degree);
  teams.exact = teams.exact && spec.sum == DataParallelSpec::Sum::ordered;
}

/// Whether float32 is rounded for products, which is the same for all trials. `asked`: by some of them.
bool uses_tf32(const std::string& file, const std::vector<SearchedValue>& space, const std::set<Precision>& asked) {
  if (asked.contains(Precision::fp32) && asked.contains(Precision::tf32))
    refuse_searched(file, space, "train.precision",
                    "cannot be fp32 for some trials and tf32 for others: one switch decides for all that a process "
                    "computes; search bf16 and one of them");
  return asked.contains(Precision::tf32);
}

/// Reads the trial once for every value that may be searched, the other dimensions at their first.
TrialConfig check_trials(const std::string& file, const YamlNode& tree, const std::vector<SearchedValue>& space,
                         TeamsAsked& teams, bool& tf32) {
  refuse_searched(file, space, "model.task", "cannot be searched: scores of different tasks cannot be compared");
  const auto dimensions = dimensions_of(space);
  const TrialConfig first_trial = read_trial(file, trial_tree(tree, dimensions, probed(space)));
  std::uint32_t batch_size_min = first_trial.train.batch_size;
  note(first_trial.train.data_parallel, teams);
  std::set<Precision> precisions{first_trial.train.precision};
  const SearchedValue* micro_dimension = nullptr;
  for (std::size_t d = 0; d < space.size(); ++d) {
    for (std::size_t probe = 0; probe < space[d].probes.size(); ++probe) {
      const TrainSpec train = read_trial(file, trial_tree(tree, dimensions, probed(space, d, probe))).train;
      batch_size_min = std::min(batch_size_min, train.batch_size);
      note(train.data_parallel, teams);
      precisions.insert(train.precision);
    }
    if (space[d].dimension.path == "train.micro_batch_size") micro_dimension = &space[d];
  }
  tf32 = uses_tf32(file, space, precisions);
  if (micro_dimension == nullptr) return first_trial;
  for (const Probe& probe : micro_dimension->probes) {
    const YamlNode& node = probe[0].second;
    const ValueReader value(file, node, micro_dimension->dimension.path);
    if (!value.is_word(kAuto) && value.whole(1, 1'000'000) > batch_size_min)
      value.refuse(
          text::cat("= ", node.text, " must be at most the smallest train.batch_size, which is ", batch_size_min));
  }
  return first_trial;
}

void check_method(const std::string& file, const ExperimentConfig& config, const std::vector<SearchedValue>& space) {
  if (config.search.method != SearchSpec::Method::grid) return;
  for (const auto& [dimension, probes] : space) {
    using Kind = Dimension::Kind;
    const bool range = dimension.kind != Kind::grid && dimension.kind != Kind::choice && dimension.kind != Kind::joint;
    if (range && dimension.step == 0)
      ValueReader(file, probes[0][0].second, dimension.path)
          .refuse(
              "has a range without a step, which search.method grid cannot go through; give it a step, list its "
              "values with {grid: […]}, or use method: random with trials");
  }
}

/// What groups of rows do not go with.
void check_groups(const std::string& file, const ExperimentConfig& config, const std::vector<SearchedValue>& space,
                  const TrialConfig& first_trial) {
  constexpr const char* kRows = "cannot be set with data.group_by: a group has the rows that it has";
  refuse_searched(file, space, "train.rows", kRows);
  if (first_trial.rows != 0) fail(ExitCode::usage, file, ": train.rows ", kRows);
  if (config.search.method == SearchSpec::Method::external)
    fail(ExitCode::usage, file,
         ": data.group_by does not go with search.method external, where each trial is asked for");
}

TrialConfig first_trial_of(const ExperimentConfig& config) {
  return read_trial("config",
                    trial_tree(config.tree, config.space, probed(find_searched_values("config", config.tree))));
}

/// The same text for trees that mean the same, whatever the order of keys and the spelling of numbers.
std::string canonical(const YamlNode& node) {
  std::vector<std::string> parts;
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "null";
    case YamlNode::Kind::scalar:
      return to_yaml(to_node(to_string(to_setting(node))));
    case YamlNode::Kind::list:
      for (const auto& item : node.items) parts.push_back(canonical(item));
      return "[" + text::join(parts, ",") + "]";
    case YamlNode::Kind::map:
      for (const auto& [key, value, mark] : node.members) parts.push_back(key + ":" + canonical(value));
      std::sort(parts.begin(), parts.end());
      return "{" + text::join(parts, ",") + "}";
  }
  return "";
}

}  // namespace

ExperimentConfig parse_config(const std::string& yaml_text, const std::string& file_name,
                              const std::vector<std::pair<std::string, std::string>>& overrides) {
  ExperimentConfig config;
  config.tree = parse_yaml(yaml_text, file_name);
  if (config.tree.kind != YamlNode::Kind::map) fail(ExitCode::usage, file_name, ": must be a map of keys and values");
  for (const auto& [path, value] : overrides) set_path(config.tree, path, value);

  MapReader top(file_name, config.tree, "");
  read_version(top);
  config.name = read_name(top.at("name"));
  if (const auto seed = top.find("seed")) config.seed = static_cast<std::uint64_t>(seed->whole(0, INT64_MAX));
  config.data = read_data(top.at("data").map());
  for (const char* read_per_trial : {"model", "train"}) top.section(read_per_trial);
  MapReader search = top.section("search");
  read_resources(top.at("resources").map(), config);
  config.execute = read_execute(top.section("execute"));
  config.workers = read_workers(top.section("workers"), config.data.order);
  top.finish();

  const auto space = find_searched_values(file_name, config.tree);
  config.space = dimensions_of(space);
  const TrialConfig first_trial = check_trials(file_name, config.tree, space, config.teams, config.tf32);
  if (config.teams.degree_max == 1) config.teams = {};
  if (config.workers.links == WorkersSpec::Links::nccl && config.devices.front().type != DeviceSpec::Type::cuda)
    fail(ExitCode::usage, file_name, ": workers.links is nccl, which goes from card to card, and resources.devices ",
         "has none of type cuda");
  if (config.workers.scheduler == VisitSchedulerKind::task && config.teams.degree_max > 1)
    fail(ExitCode::usage, file_name, ": workers.scheduler is task, which trains each trial on one worker, and ",
         "train.data_parallel.degree asks for ", config.teams.degree_max);
  config.search = read_search(search, first_trial.model.task);
  if (trains_piecewise(config.search.method)) {
    refuse_searched(file_name, space, "train.epochs", "cannot be searched with this search.method, which decides it");
    config.search.max_epochs = first_trial.train.epochs;
  }
  check_method(file_name, config, space);
  if (!config.data.group_by.empty()) check_groups(file_name, config, space, first_trial);
  if (config.data.partitions > 0) check_rungs(config.search, config.data.partitions);
  make_searcher(config.search, config.space, config.seed);  // refuses what contradicts itself
  return config;
}

void check_rungs(const SearchSpec& search, std::uint32_t partitions) {
  const Epochs& first = search.min_epochs;
  if (first.is_whole_visits(partitions)) return;
  fail(ExitCode::usage, "search.min_epochs is ", first, " and data.partitions ", partitions,
       "; a rung ends with a sub-epoch, so partitions must be a multiple of ", first.parts());
}

TrialConfig resolve_trial(const ExperimentConfig& config, const TrialSpec& trial) {
  Chosen chosen;
  for (const auto& setting : trial.settings) chosen[setting.path] = to_node(setting.value);
  return read_trial("trial " + trial.id, trial_tree(config.tree, config.space, chosen));
}

std::string resolved_yaml(const ExperimentConfig& config) {
  YamlNode tree = config.tree;
  add_defaults(tree, config, first_trial_of(config));
  return to_yaml(tree);
}

std::string resources_text(const ExperimentConfig& config) {
  YamlNode tree = config.tree;
  add_defaults(tree, config, first_trial_of(config));
  return canonical(*tree.find("resources"));
}

std::string config_digest(const ExperimentConfig& config) {
  YamlNode tree = config.tree;
  add_defaults(tree, config, first_trial_of(config));
  std::string decisive;
  for (const char* key : {"version", "seed", "data", "model", "train", "search"})
    decisive += text::cat(key, "=", canonical(*tree.find(key)), "\n");
  for (const auto& dimension : config.space) decisive += dimension.path + "\n";  // their order is the order of trials
  return to_hex(digest_bytes(std::as_bytes(std::span(decisive))));
}

}  // namespace hopyard
