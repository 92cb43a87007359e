#include "runtime/steering_service.h"

#include <algorithm>

#include "base/failure.h"
#include "report/json_fields.h"
#include "runtime/run_summary.h"
#include "runtime/search_space.h"

namespace hopyard {

namespace {

constexpr const char* kWhere = "request";
constexpr std::size_t kReasonBytesMax = 1000, kNameBytesMax = 200, kChangesMax = 100;

std::string short_text(const Json& arguments, const char* key, std::size_t bytes_max) {
  const auto text = json_get_or<std::string>(arguments, key, "", kWhere);
  if (text.size() > bytes_max) fail(ExitCode::usage, "--", key, ": is longer than ", bytes_max, " bytes");
  const bool printable =
      std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (!printable) fail(ExitCode::usage, "--", key, ": has control characters, such as line ends");
  return text;
}

/// A value as a config writes it.
SettingValue parse_value(const std::string& path, const std::string& text) {
  const YamlNode node = parse_yaml(text, "--set " + path);
  if (node.kind != YamlNode::Kind::scalar) fail(ExitCode::usage, "--set: ", path, " needs a single value");
  return to_setting(node);
}

/// A scalar of the config with its defaults; empty where there is none, or it is searched.
std::string value_in_config(const ExperimentConfig& config, const std::string& path) {
  const YamlNode tree = parse_yaml(resolved_yaml(config), config.name);
  const YamlNode* node = &tree;
  for (const auto& key : text::split(path, '.'))
    if ((node = node->find(key)) == nullptr) return "";
  return node->kind == YamlNode::Kind::scalar ? node->text : "";
}

bool is_held(const std::vector<Operation>& operations, const std::string& trial) {
  const Operation* last =
      newest(operations, trial, {OperationVerb::pause, OperationVerb::go_on, OperationVerb::resume});
  return last != nullptr && last->request.verb == OperationVerb::pause;
}

std::uint32_t partitions_of(const ExperimentConfig& config, const Journal& journal) {
  if (config.data.partitions > 0) return config.data.partitions;
  const auto decided = journal.fact("partitions");
  if (!decided) return 1;
  return json_get<std::uint32_t>(parse_json(*decided, "partitions"), "count", "partitions");
}

}  // namespace

OperationRequest operation_request(const ChannelRequest& request) {
  OperationRequest operation;
  operation.verb = *parse_operation_verb(request.verb);
  operation.author = request.author;
  operation.uid = request.uid;
  operation.token = request.token;
  const Json& arguments = request.arguments;
  for (const auto& [key, value] : arguments.items())
    if (key != "trial" && key != "set" && key != "warm" && key != "reason" && key != "epochs")
      fail(ExitCode::usage, kWhere, ": unknown argument '", key, "'");
  operation.trial = short_text(arguments, "trial", kNameBytesMax);
  operation.reason = short_text(arguments, "reason", kReasonBytesMax);
  operation.warm = json_get_or<bool>(arguments, "warm", false, kWhere);
  if (arguments.contains("epochs")) operation.epochs = read_small(arguments, "epochs", kWhere);
  if (operation.epochs > 0 && operation.verb != OperationVerb::ask && operation.verb != OperationVerb::finish)
    fail(ExitCode::usage, "--epochs: belongs to ask");
  if (!arguments.contains("set")) return operation;
  const Json& set = arguments.at("set");
  if (!set.is_array() || set.size() > kChangesMax)
    fail(ExitCode::usage, kWhere, ": 'set' must be a list of at most ", kChangesMax, " pairs");
  for (const auto& pair : set) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      fail(ExitCode::usage, kWhere, ": 'set' must be a list of [path, value], both text");
    const auto path = pair[0].get<std::string>();
    if (path.empty() || path.size() > kNameBytesMax) fail(ExitCode::usage, "--set: the path is empty or too long");
    operation.changes.push_back({path, parse_value(path, pair[1].get<std::string>())});
  }
  return operation;
}

Json operation_arguments(const RequestArguments& arguments) {
  Json pairs = Json::array();
  for (const auto& [path, value] : arguments.set) pairs.push_back({path, value});
  Json json{{"trial", arguments.trial}, {"set", pairs}, {"warm", arguments.warm}, {"reason", arguments.reason}};
  if (arguments.epochs > 0) json["epochs"] = arguments.epochs;
  return json;
}

std::vector<std::string> describe_answer(const ExperimentConfig& config, const OperationAnswer& answer) {
  const Operation& operation = *answer.operation;
  const OperationRequest& request = operation.request;
  if (request.verb == OperationVerb::finish) return {"nothing more is asked for: " + answer.boundary};
  if (request.verb == OperationVerb::ask)
    return {text::cat(operation.clone.empty() ? request.trial : operation.clone, ": ", answer.boundary)};
  const std::string whom = request.trial.empty() ? "the experiment" : request.trial;
  const std::string what = operation.clone.empty() ? to_string(request.verb) + " " + whom
                                                   : text::cat(operation.clone, " is a clone of ", whom);
  std::vector<std::string> lines{text::cat(what, ": takes effect ", answer.boundary)};
  for (std::size_t i = 0; i < request.changes.size() && i < answer.before.size(); ++i) {
    const Setting& change = request.changes[i];
    std::string before = answer.before[i].empty() ? value_in_config(config, change.path) : answer.before[i];
    if (before.empty()) before = "nothing";
    lines.push_back(text::cat("  ", change.path, ": ", before, " → ", to_string(change.value)));
  }
  return lines;
}

Json steer(Experiment& experiment, const ExperimentConfig& config, const ChannelRequest& request) {
  const OperationAnswer answer = experiment.steer(operation_request(request), request.queued);
  if (!answer.refusal.empty()) return refusal_json(static_cast<int>(answer.refusal_code), answer.refusal);
  return {{"ok", true},
          {"number", answer.operation->number},
          {"trial", answer.operation->clone.empty() ? answer.operation->request.trial : answer.operation->clone},
          {"at_visits", answer.operation->at_visits},
          {"boundary", answer.boundary},
          {"lines", describe_answer(config, answer)}};
}

TrialProgress trial_progress(const TrialStatus& trial, const std::vector<Operation>& operations) {
  TrialProgress row;
  row.id = trial.spec.id;
  row.settings = settings_text(trial.settings);
  row.state = trial.state;
  row.epochs = trial.epochs;
  row.visits = trial.visits_per_epoch;
  const std::uint32_t visits = std::max(1u, trial.epochs * trial.visits_per_epoch);
  const std::uint32_t present = std::min(trial.visits_done, visits - 1);
  row.epoch = present / trial.visits_per_epoch + 1;
  row.visit = present % trial.visits_per_epoch + 1;
  row.fraction = trial.state == TrialState::finished ? 1 : (trial.visits_done + trial.visit_fraction) / visits;
  row.loss = trial.loss;
  row.metric = trial.metric;
  std::vector<std::string> notes;
  if (const auto& lineage = trial.spec.lineage)
    notes.push_back(text::cat("clone of ", lineage->parent,
                              lineage->epochs > 0 ? text::cat(" after epoch ", lineage->epochs) : ""));
  if (trial.held && trial.state <= TrialState::active)
    notes.push_back("paused " + signature(*newest(operations, trial.spec.id, {OperationVerb::pause})));
  if (trial.skipped_steps > 0) notes.push_back(text::cat(trial.skipped_steps, " steps skipped"));
  if (!trial.reason.empty()) notes.push_back(to_string(trial.state) + " " + trial.reason);
  row.note = text::join(notes, "; ");
  return row;
}

std::vector<TrialStatus> status_from_journal(const ExperimentConfig& config, const Journal& journal) {
  const auto operations = journal.operations();
  const std::uint32_t visits_per_epoch = partitions_of(config, journal);
  std::vector<TrialStatus> all;
  for (const auto& record : journal.trials()) {
    TrialStatus& trial = all.emplace_back();
    trial.spec = record.spec;
    trial.state = record.state == TrialState::active ? TrialState::waiting : record.state;
    trial.reason = record.reason;
    trial.skipped_steps = record.skipped_steps;
    trial.visits_per_epoch = visits_per_epoch;
    if (record.last) {
      trial.visits_done = record.last->epoch * visits_per_epoch + record.last->visit + 1;
      if (record.last->loss_items > 0) trial.loss = record.last->loss_sum / record.last->loss_items;
    }
    if (!record.scores.empty()) trial.metric = record.scores.back().metric;
    trial.settings = settings_after(record.spec, operations, trial.visits_done);
    TrialSpec in_force = record.spec;
    in_force.settings = trial.settings;
    trial.epochs = resolve_trial(config, in_force).train.epochs;
    trial.held = is_held(operations, record.spec.id);
  }
  return all;
}

std::vector<OperationRequest> queued_operations(const RunPaths& paths, const std::vector<Operation>& operations) {
  std::vector<OperationRequest> waiting;
  for (const auto& request : queued_requests(paths.root)) {
    const bool taken = std::any_of(operations.begin(), operations.end(),
                                   [&](const auto& one) { return one.request.token == request.token; });
    if (taken || !parse_operation_verb(request.verb)) continue;
    try {
      waiting.push_back(operation_request(request));
    } catch (const Failure&) {
      // The next run refuses it.
    }
  }
  return waiting;
}

StatusView view_from_journal(const RunPaths& paths, const ExperimentConfig& config, const Journal& journal) {
  StatusView view;
  view.name = config.name;
  view.operations = journal.operations();
  view.paused = is_held(view.operations, "");
  for (const auto& trial : status_from_journal(config, journal))
    view.progress.trials.push_back(trial_progress(trial, view.operations));
  view.queued = queued_operations(paths, view.operations);
  return view;
}

std::string changes_in_journal(const ExperimentConfig& config, const Journal& journal) {
  const std::uint32_t visits = partitions_of(config, journal);
  std::string lines;
  for (const auto& operation : journal.operations())
    if (operation.request.verb == OperationVerb::set && !operation.refused())
      lines += text::cat(operation.request.trial, ": ", changes_text(operation.request.changes), " from epoch ",
                         operation.at_visits / visits + 1, ", visit ", operation.at_visits % visits + 1, " on, ",
                         signature(operation), "\n");
  return lines;
}

SteeringView steering_from_journal(const ExperimentConfig& config, const Journal& journal) {
  SteeringView view;
  view.operations = journal.operations();
  view.paused = is_held(view.operations, "");
  view.seed = config.seed;
  for (const auto& status : status_from_journal(config, journal)) {
    SteeredTrial& trial = view.trials.emplace_back();
    trial.spec = status.spec;
    trial.state = status.state;
    trial.reason = status.reason;
    trial.visits_done = status.visits_done;
    trial.visits_per_epoch = status.visits_per_epoch;
    trial.epochs = status.epochs;
    trial.held = status.held;
  }
  return view;
}

}  // namespace hopyard
