// `hopyard plan --trials`: what would run, before anything is spent.
#include <algorithm>
#include <iostream>
#include <map>

#include "base/files.h"
#include "report/json_fields.h"
#include "report/leaderboard.h"
#include "report/table.h"
#include "runtime/actions.h"
#include "runtime/workbench.h"

namespace hopyard {

namespace {

using Method = SearchSpec::Method;

constexpr std::size_t kTpeStartupTrials = 10;  // as select/tpe_search.cc has it

/// What a search asks for before any score, and what is open until there are some.
struct TrialsView {
  std::vector<TrialOrder> orders;
  std::uint64_t on_scores = 0;                  ///< trials whose settings are chosen on scores
  std::uint64_t clones = 0;                     ///< warm clones, when no trial fails
  std::map<Epochs, std::uint64_t> until_epoch;  ///< how many trials come so far, when none fails
};

TrialsView view_of(const ExperimentConfig& config) {
  TrialsView view;
  view.orders = orders_before_scores(config);
  // It asks for all without waiting; beyond the first it would have looked at scores, had there been any.
  const std::size_t startup = kTpeStartupTrials * members_of_group(config.search);
  if (config.search.method == Method::tpe && view.orders.size() > startup) {
    view.on_scores = view.orders.size() - startup;
    view.orders.resize(startup);
  }
  view.clones = clones_expected(config.search);
  if (const auto epochs = epochs_expected(config.search, view.orders.size()))
    for (const Epochs until : *epochs) {
      const auto known = view.until_epoch.find(until);
      if (known == view.until_epoch.end())
        view.until_epoch[until] = static_cast<std::uint64_t>(
            std::count_if(epochs->begin(), epochs->end(), [&](const Epochs& other) { return other >= until; }));
    }
  return view;
}

std::vector<std::string> paths_of(const TrialsView& view) {
  std::vector<LeaderboardRow> rows;
  for (const auto& order : view.orders) {
    rows.emplace_back();
    rows.back().settings = order.trial.settings;
  }
  return setting_paths(rows);
}

std::string value_at(const TrialSpec& trial, const std::string& path) {
  for (const auto& setting : trial.settings)
    if (setting.path == path) return to_string(setting.value);
  return "";
}

/// Header, then a row for each trial.
std::vector<std::vector<std::string>> cells_of(const TrialsView& view, const ExperimentConfig& config,
                                               bool short_names) {
  const auto paths = paths_of(view);
  const auto names = short_names ? short_setting_names(paths) : paths;
  std::vector<std::vector<std::string>> rows{{"trial"}};
  rows[0].insert(rows[0].end(), names.begin(), names.end());
  rows[0].push_back("epochs");
  for (const auto& order : view.orders) {
    auto& row = rows.emplace_back(std::vector{order.trial.id});
    for (const auto& path : paths) row.push_back(value_at(order.trial, path));
    row.push_back(to_string(order.until_epoch.value_or(resolve_trial(config, order.trial).train.epochs)));
  }
  return rows;
}

std::string rest_text(const TrialsView& view, const ExperimentConfig& config) {
  const std::size_t listed = view.orders.size();
  if (config.search.method == Method::external)
    return text::cat("Trials are asked for from outside (`hopyard ask`), ",
                     config.search.trials > 0 ? text::cat("at most ", config.search.trials) : "as many as it takes",
                     "; these ", listed, " are examples, drawn at random from what is searched.\n");
  if (!reacts_to_scores(config.search.method)) return text::cat(listed, " trials: all that will run.\n");
  std::string rest = text::cat("These ", listed, " trials are asked for before any score.\n");
  if (view.on_scores > 0) rest += text::cat("The settings of ", view.on_scores, " more are chosen on scores.\n");
  if (view.clones > 0) rest += text::cat("Up to ", view.clones, " warm clones will be made on scores.\n");
  if (view.until_epoch.size() > 1) {
    std::vector<std::string> parts;
    for (const auto& [until, trials] : view.until_epoch) parts.push_back(text::cat(trials, " to epoch ", until));
    rest += text::cat("Who trains further is decided on scores; when none fails, ", text::join(parts, ", "), ".\n");
  }
  return rest;
}

Json json_of(const TrialsView& view, const ExperimentConfig& config) {
  Json trials = Json::array();
  for (const auto& order : view.orders) {
    trials.push_back({{"trial", order.trial.id},
                      {"settings", settings_json(order.trial.settings)},
                      {"epochs", order.until_epoch.value_or(resolve_trial(config, order.trial).train.epochs)}});
  }
  Json reach = Json::array();
  for (const auto& [until, count] : view.until_epoch) reach.push_back({{"epoch", until}, {"trials", count}});
  return {{"trials", std::move(trials)},
          {"reacts_to_scores", reacts_to_scores(config.search.method)},
          {"trials_on_scores", view.on_scores},
          {"clones_on_scores", view.clones},
          {"expected_to_reach", std::move(reach)}};
}

}  // namespace

ExitCode print_trials(const std::string& config_file, const std::vector<std::pair<std::string, std::string>>& overrides,
                      TableFormat format) {
  const ExperimentConfig config =
      with_row_groups(parse_config(read_file(config_file, 1 << 20), config_file, overrides));
  const TrialsView view = view_of(config);
  if (format == TableFormat::json) {
    std::cout << dump_json(json_of(view, config), 2) << '\n';
    return ExitCode::done;
  }
  const auto rows = cells_of(view, config, format == TableFormat::table);
  if (format == TableFormat::csv) {
    for (const auto& row : rows) std::cout << csv_line(row);
    return ExitCode::done;
  }
  std::vector<Column> columns;
  for (const auto& header : rows[0]) columns.push_back({header});
  Table table(columns);
  for (std::size_t i = 1; i < rows.size(); ++i) table.add_row(rows[i]);
  std::cout << (table.empty() ? "" : table.to_text()) << rest_text(view, config);
  return ExitCode::done;
}

}  // namespace hopyard
