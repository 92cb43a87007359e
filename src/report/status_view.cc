#include "report/status_view.h"

#include <cmath>

#include "base/clock.h"
#include "base/failure.h"
#include "report/json_fields.h"
#include "report/table.h"

namespace hopyard {

namespace {

constexpr const char* kWhere = "status";
constexpr TerminalSize kEndless{1000, 1'000'000};

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::optional<double> optional_number(const Json& json, const char* key) {
  const double value = read_number(json, key, kWhere);
  return std::isnan(value) ? std::nullopt : std::optional(value);
}

std::string text_at(const Json& json, const char* key) { return json_get<std::string>(json, key, kWhere); }

Json trial_json(const TrialProgress& trial) {
  return {{"trial", trial.id},
          {"settings", trial.settings},
          {"state", to_string(trial.state)},
          {"note", trial.note},
          {"epoch", trial.epoch},
          {"epochs", trial.epochs},
          {"visit", trial.visit},
          {"visits", trial.visits},
          {"fraction", trial.fraction},
          {"loss", optional_json(trial.loss)},
          {"metric", optional_json(trial.metric)},
          {"eta_s", optional_json(trial.eta_s)}};
}

TrialProgress trial_from(const Json& json) {
  TrialProgress trial;
  trial.id = text_at(json, "trial");
  trial.settings = text_at(json, "settings");
  trial.note = text_at(json, "note");
  const std::string state = text_at(json, "state");
  for (const TrialState known :
       {TrialState::waiting, TrialState::active, TrialState::finished, TrialState::failed, TrialState::stopped})
    if (to_string(known) == state) trial.state = known;
  trial.epoch = read_small(json, "epoch", kWhere);
  trial.epochs = read_small(json, "epochs", kWhere);
  trial.visit = read_small(json, "visit", kWhere);
  trial.visits = read_small(json, "visits", kWhere);
  trial.fraction = read_number(json, "fraction", kWhere);
  trial.loss = optional_number(json, "loss");
  trial.metric = optional_number(json, "metric");
  trial.eta_s = optional_number(json, "eta_s");
  return trial;
}

Json value_json(const SettingValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

SettingValue value_from(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  fail(ExitCode::input, kWhere, ": a change must be one value");
}

Json request_json(const OperationRequest& request) {
  Json changes = Json::object();
  for (const auto& change : request.changes) changes[change.path] = value_json(change.value);
  return {
      {"verb", to_string(request.verb)}, {"trial", request.trial},   {"changes", changes}, {"warm", request.warm},
      {"reason", request.reason},        {"author", request.author}, {"uid", request.uid}, {"epochs", request.epochs}};
}

OperationRequest request_from(const Json& json) {
  OperationRequest request;
  const auto verb = parse_operation_verb(text_at(json, "verb"));
  if (!verb) fail(ExitCode::input, kWhere, ": unknown verb");
  request.verb = *verb;
  request.trial = text_at(json, "trial");
  if (!json.contains("changes") || !json.at("changes").is_object())
    fail(ExitCode::input, kWhere, ": 'changes' must be an object");
  for (const auto& [path, value] : json.at("changes").items()) request.changes.push_back({path, value_from(value)});
  request.warm = json_get<bool>(json, "warm", kWhere);
  request.reason = text_at(json, "reason");
  request.author = text_at(json, "author");
  request.uid = read_small(json, "uid", kWhere);
  request.epochs = read_small(json, "epochs", kWhere);
  return request;
}

Json operation_json(const Operation& operation) {
  Json json{{"number", operation.number}, {"time", operation.time_s}};
  json.update(request_json(operation.request));
  json["at_visits"] = operation.at_visits;
  json["clone"] = operation.clone;
  json["outcome"] = operation.outcome ? Json(operation.outcome->empty() ? "took effect" : *operation.outcome) : Json();
  return json;
}

Operation operation_from(const Json& json) {
  Operation operation;
  operation.number = json_get<std::uint64_t>(json, "number", kWhere);
  operation.time_s = read_number(json, "time", kWhere);
  operation.request = request_from(json);
  operation.at_visits = read_small(json, "at_visits", kWhere);
  operation.clone = text_at(json, "clone");
  if (!json.contains("outcome") || json.at("outcome").is_null()) return operation;
  const std::string outcome = text_at(json, "outcome");
  operation.outcome = outcome == "took effect" ? "" : outcome;
  return operation;
}

std::string place_of(const Operation& operation) {
  if (operation.request.trial.empty()) return "";
  return text::cat(operation.request.trial, " after ", operation.at_visits,
                   operation.at_visits == 1 ? " visit" : " visits");
}

std::string operations_table(const StatusView& view) {
  Table table({{"#", Align::right}, {"when"}, {"by"}, {"what"}, {"boundary"}, {"outcome"}, {"reason"}});
  for (const auto& operation : view.operations) {
    if (operation.request.verb == OperationVerb::ask && operation.outcome == "") continue;  // the trial says it
    table.add_row({std::to_string(operation.number), format_wall_time(operation.time_s), operation.request.author,
                   operation_text(operation.request) + (operation.clone.empty() ? "" : " → " + operation.clone),
                   operation.refused() ? "" : place_of(operation),
                   !operation.outcome    ? "waits"
                   : operation.refused() ? *operation.outcome
                                         : "took effect",
                   operation.request.reason});
  }
  for (const auto& request : view.queued)
    table.add_row({"-", "", request.author, operation_text(request), "", "queued for the next run", request.reason});
  return table.empty() ? "" : "\n" + table.to_text();
}

}  // namespace

void to_json(Json& json, const StatusView& view) {
  Json trials = Json::array(), devices = Json::array(), tiers = Json::array(), operations = Json::array(),
       queued = Json::array();
  for (const auto& trial : view.progress.trials) trials.push_back(trial_json(trial));
  for (const auto& device : view.progress.devices)
    devices.push_back({{"device", device.name}, {"utilisation", device.utilisation}, {"task", device.task}});
  for (const auto& tier : view.progress.tiers)
    tiers.push_back({{"tier", tier.name}, {"used_bytes", tier.used}, {"budget_bytes", tier.budget}});
  for (const auto& operation : view.operations) operations.push_back(operation_json(operation));
  for (const auto& request : view.queued) queued.push_back(request_json(request));
  json = {{"name", view.name},
          {"running", view.running},
          {"paused", view.paused},
          {"elapsed_s", view.progress.elapsed_s},
          {"eta_s", optional_json(view.progress.eta_s)},
          {"trials", trials},
          {"devices", devices},
          {"tiers", tiers},
          {"operations", operations},
          {"queued", queued}};
}

void from_json(const Json& json, StatusView& view) {
  view = {};
  view.name = text_at(json, "name");
  view.running = json_get<bool>(json, "running", kWhere);
  view.paused = json_get<bool>(json, "paused", kWhere);
  view.progress.elapsed_s = read_number(json, "elapsed_s", kWhere);
  view.progress.eta_s = optional_number(json, "eta_s");
  for (const auto& trial : read_list<Json>(json, "trials", kWhere)) view.progress.trials.push_back(trial_from(trial));
  for (const auto& device : read_list<Json>(json, "devices", kWhere))
    view.progress.devices.push_back(
        {text_at(device, "device"), read_number(device, "utilisation", kWhere), text_at(device, "task")});
  for (const auto& tier : read_list<Json>(json, "tiers", kWhere))
    view.progress.tiers.push_back({text_at(tier, "tier"), json_get<std::uint64_t>(tier, "used_bytes", kWhere),
                                   json_get<std::uint64_t>(tier, "budget_bytes", kWhere)});
  for (const auto& operation : read_list<Json>(json, "operations", kWhere))
    view.operations.push_back(operation_from(operation));
  for (const auto& request : read_list<Json>(json, "queued", kWhere)) view.queued.push_back(request_from(request));
}

std::string operation_text(const OperationRequest& request) {
  std::string text = to_string(request.verb);
  for (const auto& part : {request.trial, changes_text(request.changes)})
    if (!part.empty()) text += " " + part;
  if (request.epochs > 0) text += text::cat(" to epoch ", request.epochs);
  return text + (request.warm ? " (warm)" : "");
}

std::string format_status(const StatusView& view, TableFormat format) {
  if (format == TableFormat::json) return dump_json(Json(view), 2) + "\n";
  if (format != TableFormat::table) fail(ExitCode::usage, "--format: status is printed as table or json");
  std::string out = text::cat(view.name, ": ", view.running ? "running" : "no process trains it",
                              view.paused ? ", paused: `hopyard continue` lets it go on" : "", "\n");
  for (const auto& line : progress_lines(view.progress, kEndless)) out += line + "\n";
  for (const auto& trial : view.progress.trials)
    if (!trial.note.empty()) out += text::cat(trial.id, ": ", trial.note, "\n");
  return out + operations_table(view);
}

}  // namespace hopyard
