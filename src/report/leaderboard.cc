#include "report/leaderboard.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/failure.h"
#include "base/text.h"
#include "report/json_fields.h"
#include "report/table.h"

namespace hopyard {

namespace {

constexpr const char* kWhere = "leaderboard";
constexpr int kDecimals = 4;

SettingValue setting_from_json(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_null()) return std::numeric_limits<double>::quiet_NaN();
  fail(ExitCode::input, kWhere, ": a setting must be one value");
}

TrialState state_from_word(const std::string& word) {
  for (const TrialState state :
       {TrialState::waiting, TrialState::active, TrialState::finished, TrialState::failed, TrialState::stopped})
    if (to_string(state) == word) return state;
  fail(ExitCode::input, kWhere, ": '", word, "' is no state of a trial");
}

Json optional_to_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

std::optional<double> optional_from_json(const Json& json, const char* key) {
  const double value = read_number(json, key, kWhere);
  return std::isnan(value) ? std::nullopt : std::optional(value);
}

const SettingValue* value_at(const LeaderboardRow& row, const std::string& path) {
  for (const auto& setting : row.settings)
    if (setting.path == path) return &setting.value;
  return nullptr;
}

std::string value_text(const LeaderboardRow& row, const std::string& path) {
  const SettingValue* value = value_at(row, path);
  return value == nullptr ? "" : to_string(*value);
}

bool all_numbers(const std::vector<LeaderboardRow>& rows, const std::string& path) {
  return std::all_of(rows.begin(), rows.end(), [&](const auto& row) {
    const SettingValue* value = value_at(row, path);
    return value == nullptr || std::holds_alternative<double>(*value) || std::holds_alternative<std::int64_t>(*value);
  });
}

std::string metric_name_of(const std::vector<LeaderboardRow>& rows) {
  return rows.empty() || rows.front().metric_name.empty() ? "metric" : rows.front().metric_name;
}

std::string fixed(const std::optional<double>& value) { return value ? text::format_number(*value, kDecimals) : "-"; }

std::string lineage_text(const Lineage& lineage) {
  return text::cat("clone of ", lineage.parent,
                   lineage.epochs > 0 ? text::cat(" after epoch ", lineage.epochs) : std::string());
}

std::string table_text(const std::vector<LeaderboardRow>& rows) {
  const auto paths = setting_paths(rows);
  const bool timed = std::any_of(rows.begin(), rows.end(), [](const auto& row) { return row.seconds > 0; });
  std::vector<Column> columns{{"rank", Align::right}, {"trial"}};
  const auto names = short_setting_names(paths);
  for (std::size_t i = 0; i < paths.size(); ++i)
    columns.push_back({names[i], all_numbers(rows, paths[i]) ? Align::right : Align::left});
  columns.push_back({"state"});
  for (const std::string& header :
       {std::string("epochs"), std::string("train/loss"), std::string("valid/loss"), metric_name_of(rows)})
    columns.push_back({header, Align::right});
  if (timed) columns.push_back({"time", Align::right});
  if (any_skipped(rows)) columns.push_back({"skipped", Align::right});
  columns.push_back({"digest"});
  Table table(columns);
  for (const auto& row : rows) {
    std::vector<std::string> cells{row.rank == 0 ? "-" : std::to_string(row.rank), row.trial};
    for (const auto& path : paths) cells.push_back(value_text(row, path));
    cells.insert(cells.end(), {to_string(row.state), to_string(row.epochs), fixed(row.train_loss),
                               fixed(row.valid_loss), fixed(row.metric)});
    if (timed) cells.push_back(text::format_seconds(row.seconds));
    if (any_skipped(rows)) cells.push_back(std::to_string(row.skipped_steps));
    cells.push_back(row.digest);
    table.add_row(cells);
  }
  std::string out = table.to_text();
  for (const auto& row : rows)
    if (!row.reason.empty()) out += text::cat(row.trial, " ", to_string(row.state), ": ", row.reason, "\n");
  for (const auto& row : rows)
    if (row.lineage) out += text::cat(row.trial, ": ", lineage_text(*row.lineage), "\n");
  return out;
}

std::string csv_cell(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (const char c : cell) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string exact(const std::optional<double>& value) { return value ? to_string(SettingValue(*value)) : ""; }

std::string csv_text(const std::vector<LeaderboardRow>& rows) {
  const auto paths = setting_paths(rows);
  std::vector<std::string> header{"rank", "trial"};
  header.insert(header.end(), paths.begin(), paths.end());
  for (const std::string& name : {std::string("state"), std::string("reason"), std::string("epochs"),
                                  std::string("train/loss"), std::string("valid/loss"), metric_name_of(rows),
                                  std::string("digest"), std::string("seconds"), std::string("skipped_steps")})
    header.push_back(name);
  std::string out = csv_line(header);
  for (const auto& row : rows) {
    std::vector<std::string> cells{row.rank == 0 ? "" : std::to_string(row.rank), row.trial};
    for (const auto& path : paths) cells.push_back(value_text(row, path));
    cells.insert(cells.end(),
                 {to_string(row.state), row.reason, to_string(row.epochs), exact(row.train_loss), exact(row.valid_loss),
                  exact(row.metric), row.digest, exact(row.seconds), std::to_string(row.skipped_steps)});
    out += csv_line(cells);
  }
  return out;
}

LeaderboardRow row_of(const TrialRecord& record, const std::string& metric_name) {
  LeaderboardRow row;
  row.trial = record.spec.id;
  row.settings = record.spec.settings;
  row.state = record.state;
  row.reason = record.reason;
  row.seconds = record.seconds;
  row.skipped_steps = record.skipped_steps;
  row.metric_name = metric_name;
  row.lineage = record.spec.lineage;
  row.replicate = record.spec.replicate;
  if (record.last) row.digest = record.last->digest;
  if (record.scores.empty()) return row;
  const TrialScore& score = record.scores.back();
  row.epochs = score.epoch;
  row.train_loss = score.train_loss;
  row.valid_loss = score.valid_loss;
  row.metric = score.metric;
  return row;
}

}  // namespace

void to_json(Json& json, const LeaderboardRow& row) {
  json = {{"rank", row.rank == 0 ? Json() : Json(row.rank)},
          {"trial", row.trial},
          {"settings", settings_json(row.settings)},
          {"state", to_string(row.state)},
          {"reason", row.reason},
          {"epochs", row.epochs},
          {"train_loss", optional_to_json(row.train_loss)},
          {"valid_loss", optional_to_json(row.valid_loss)},
          {"metric_name", row.metric_name},
          {"metric", optional_to_json(row.metric)},
          {"digest", row.digest},
          {"seconds", row.seconds},
          {"skipped_steps", row.skipped_steps}};
  if (row.replicate && row.replicate->row_group) json["row_group"] = *row.replicate->row_group;
  if (row.lineage) json["parent"] = row.lineage->parent, json["parent_epochs"] = row.lineage->epochs;
}

void from_json(const Json& json, LeaderboardRow& row) {
  row = {};
  row.trial = json_get<std::string>(json, "trial", kWhere);
  if (!json.contains("rank") || !json.at("rank").is_null()) row.rank = read_small(json, "rank", kWhere);
  if (!json.contains("settings") || !json.at("settings").is_object())
    fail(ExitCode::input, kWhere, ": 'settings' must be an object");
  for (const auto& [path, value] : json.at("settings").items())
    row.settings.push_back({path, setting_from_json(value)});
  row.state = state_from_word(json_get<std::string>(json, "state", kWhere));
  row.reason = json_get<std::string>(json, "reason", kWhere);
  row.epochs = read_epochs(json, "epochs", kWhere);
  row.train_loss = optional_from_json(json, "train_loss");
  row.valid_loss = optional_from_json(json, "valid_loss");
  row.metric_name = json_get<std::string>(json, "metric_name", kWhere);
  row.metric = optional_from_json(json, "metric");
  row.digest = json_get<std::string>(json, "digest", kWhere);
  row.seconds = read_number(json, "seconds", kWhere);
  if (json.contains("skipped_steps")) row.skipped_steps = json_get<std::uint64_t>(json, "skipped_steps", kWhere);
  if (json.contains("parent"))
    row.lineage = Lineage{json_get<std::string>(json, "parent", kWhere), read_small(json, "parent_epochs", kWhere)};
}

bool any_skipped(const std::vector<LeaderboardRow>& rows) {
  return std::any_of(rows.begin(), rows.end(), [](const auto& row) { return row.skipped_steps > 0; });
}

std::vector<std::string> setting_paths(const std::vector<LeaderboardRow>& rows) {
  std::vector<std::string> paths;
  for (const auto& row : rows)
    for (const auto& setting : row.settings)
      if (std::find(paths.begin(), paths.end(), setting.path) == paths.end()) paths.push_back(setting.path);
  return paths;
}

std::vector<std::string> short_setting_names(const std::vector<std::string>& paths) {
  const auto last_of = [](const std::string& path) { return path.substr(path.rfind('.') + 1); };
  std::vector<std::string> names;
  for (const auto& path : paths) {
    const auto alike = [&](const auto& other) { return last_of(other) == last_of(path); };
    names.push_back(std::count_if(paths.begin(), paths.end(), alike) == 1 ? last_of(path) : path);
  }
  return names;
}

std::vector<LeaderboardRow> make_leaderboard(const std::vector<TrialRecord>& records, const SearchSpec& search) {
  std::vector<std::optional<double>> metrics;
  for (const auto& record : records) {
    const bool scored = !record.scores.empty() && std::isfinite(record.scores.back().metric);
    metrics.push_back(scored ? std::optional(record.scores.back().metric) : std::nullopt);
  }
  std::vector<LeaderboardRow> rows;
  for (const std::size_t position : rank(metrics, search.maximize)) {
    rows.push_back(row_of(records.at(position), search.metric));
    if (metrics.at(position)) rows.back().rank = static_cast<std::uint32_t>(rows.size());
  }
  return rows;
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::vector<std::string> quoted;
  for (const auto& cell : cells) quoted.push_back(csv_cell(cell));
  return text::join(quoted, ",") + "\n";
}

std::optional<TableFormat> parse_table_format(const std::string& word) {
  if (word == "table") return TableFormat::table;
  if (word == "json") return TableFormat::json;
  if (word == "csv") return TableFormat::csv;
  return std::nullopt;
}

void refuse_csv(TableFormat format, const char* what) {
  if (format == TableFormat::csv) fail(ExitCode::usage, "--format: ", what, " is printed as table or json");
}

std::string format_leaderboard(const std::vector<LeaderboardRow>& rows, TableFormat format) {
  switch (format) {
    case TableFormat::table:
      return table_text(rows);
    case TableFormat::csv:
      return csv_text(rows);
    case TableFormat::json:
      return dump_json(Json(rows), 2) + "\n";
  }
  require(false, "unknown table format ", static_cast<int>(format));
  return "";
}

}  // namespace hopyard
