// The report on rigor for people, and as CSV.
#include <algorithm>

#include "base/failure.h"
#include "base/text.h"
#include "report/json_fields.h"
#include "report/rigor_report.h"
#include "report/table.h"

namespace hopyard {

namespace {

using text::cat;

constexpr int kDecimals = 4;
constexpr std::size_t kNamesMax = 12;  // of groups in a sentence

std::string fixed(double value) { return text::format_number(value, kDecimals); }
std::string exact(double value) { return to_string(SettingValue(value)); }
std::string percent(double share) { return text::format_number(100 * share, 1) + " %"; }
std::string p_text(double p) { return p < 0.001 ? "< 0.001" : text::format_number(p, 3); }

std::string interval_text(const rigor::Interval& interval) {
  return cat(fixed(interval.low), " to ", fixed(interval.high));
}

std::string names_text(const std::vector<std::string>& names) {
  std::vector<std::string> shown = names;
  shown.resize(std::min(names.size(), kNamesMax));
  const std::size_t more = names.size() - shown.size();
  return text::join(shown, ", ") + (more > 0 ? cat(" and ", more, " more") : "");
}

const rigor::Comparison* comparison_of(const RigorReport& report, const std::string& group) {
  if (!report.verdict) return nullptr;
  const auto& others = report.verdict->others;
  const auto found = std::find_if(others.begin(), others.end(), [&](const auto& one) { return one.id == group; });
  return found == others.end() ? nullptr : &*found;
}

std::vector<LeaderboardRow> first_members(const RigorReport& report) {
  std::vector<LeaderboardRow> rows;
  for (const auto& group : report.groups) rows.push_back(group.members.front());
  return rows;
}

std::string value_text(const GroupRow& row, const std::string& path) {
  for (const auto& setting : row.settings)
    if (setting.path == path) return to_string(setting.value);
  return "";
}

std::string groups_table(const RigorReport& report) {
  const auto paths = setting_paths(first_members(report));
  std::vector<Column> columns{{"rank", Align::right}, {"group"}};
  for (const auto& name : short_setting_names(paths)) columns.push_back({name, Align::right});
  columns.insert(columns.end(), {{"runs", Align::right},
                                 {"epochs", Align::right},
                                 {report.metric, Align::right},
                                 {"95 % interval", Align::right},
                                 {"against the best"}});
  Table table(columns);
  for (const auto& row : report.groups) {
    std::vector<std::string> cells{row.rank == 0 ? "-" : std::to_string(row.rank), row.group};
    for (const auto& path : paths) cells.push_back(value_text(row, path));
    const bool scored = row.score.runs > 0;
    cells.insert(cells.end(),
                 {row.score.runs == row.runs ? std::to_string(row.score.runs) : cat(row.score.runs, " of ", row.runs),
                  to_string(row.epochs), scored ? fixed(row.score.mean) : "-",
                  row.score.interval ? interval_text(*row.score.interval) : "-", standing(report, row.group)});
    table.add_row(cells);
  }
  std::string out = table.to_text();
  for (const auto& row : report.groups)
    if (row.failed > 0)
      out += cat(row.group, ": ", row.failed, " of ", row.members.size(),
                 row.row_groups.empty() ? " runs failed\n" : " trials failed\n");
  return out;
}

std::string row_groups_text(const RigorReport& report) {
  const auto leaders = row_group_leaders(report);
  if (leaders.empty()) return "";
  Table table({{report.group_by, Align::right},
               {"training rows", Align::right},
               {"validation rows", Align::right},
               {"best there"},
               {report.metric, Align::right},
               {"of the best over all", Align::right}});
  const auto cell = [](const std::optional<double>& metric) { return metric ? fixed(*metric) : std::string("-"); };
  for (const auto& leader : leaders)
    table.add_row({std::to_string(leader.rows.value), std::to_string(leader.rows.train_rows),
                   std::to_string(leader.rows.valid_rows), leader.best.empty() ? "-" : leader.best, cell(leader.metric),
                   cell(leader.of_overall)});
  return cat("\nGroups of rows by ", report.group_by, ", a model for each; above, over all validation rows\n",
             table.to_text());
}

std::string groups_csv(const RigorReport& report) {
  const auto paths = setting_paths(first_members(report));
  std::vector<std::vector<std::string>> lines;
  auto& header = lines.emplace_back(std::vector<std::string>{"rank", "group"});
  header.insert(header.end(), paths.begin(), paths.end());
  header.insert(header.end(), {"runs", "failed", "epochs", report.metric, "deviation", "low", "high", "corrected_p"});
  for (const auto& row : report.groups) {
    auto& line = lines.emplace_back(std::vector<std::string>{row.rank == 0 ? "" : std::to_string(row.rank), row.group});
    for (const auto& path : paths) line.push_back(value_text(row, path));
    const auto* comparison = comparison_of(report, row.group);
    const auto& interval = row.score.interval;
    const bool scored = row.score.runs > 0;
    line.insert(line.end(), {std::to_string(row.score.runs), std::to_string(row.failed), to_string(row.epochs),
                             scored ? exact(row.score.mean) : "", interval ? exact(row.score.deviation) : "",
                             interval ? exact(interval->low) : "", interval ? exact(interval->high) : "",
                             comparison != nullptr ? exact(comparison->corrected_p) : ""});
  }
  std::string out;
  for (const auto& line : lines) out += csv_line(line);
  return out;
}

std::string verdict_text(const RigorReport& report) {
  const std::string sentence = winner_sentence(report);
  if (sentence.empty()) return "";
  return sentence + "\n" + (report.verdict ? method_sentence(report) : "");
}

std::string decompositions_table(const RigorReport& report) {
  Table table({{"group"},
               {"loss"},
               {"runs", Align::right},
               {"mean", Align::right},
               {"bias", Align::right},
               {"variance", Align::right},
               {"of which", Align::left}});
  const auto add = [&](const Decomposition& parts, const char* loss, const rigor::LossTerms& terms,
                       const std::string& details) {
    table.add_row({parts.group, loss, std::to_string(parts.runs), fixed(terms.loss), fixed(terms.bias),
                   fixed(terms.variance), details});
  };
  for (const auto& parts : report.decompositions) {
    if (parts.zero_one)
      add(parts, "0/1", parts.zero_one->terms,
          cat("harms ", fixed(parts.zero_one->unbiased_variance), ", helps ", fixed(parts.zero_one->biased_variance)));
    if (parts.log_loss) add(parts, "log", *parts.log_loss, "");
    if (parts.squared) add(parts, "squared", *parts.squared, "");
  }
  return table.to_text(2);
}

std::string decompositions_text(const RigorReport& report) {
  if (report.decompositions.empty())
    return "Bias and variance: no group has two runs of which it is kept what they said of each row "
           "(search.seeds, search.resamples).\n";
  return "Bias and variance over the runs of a group; loss = bias + variance, and bias holds the noise\n" +
         decompositions_table(report) +
         "  0/1: Domingos, ICML 2000. Log loss: Heskes, Neural Computation 10, 1998. Squared loss: Geman et al., "
         "Neural\n"
         "  Computation 4, 1992.\n";
}

std::string floor_text(const rigor::NoiseFloor& floor) {
  return cat(percent(floor.error_rate), " (95 % interval ", percent(floor.error_interval.low), " to ",
             percent(floor.error_interval.high), "; ", floor.rows, " of ", floor.rows_total, " rows in ",
             floor.clusters, " clusters, ", floor.mixed_clusters, " with unlike labels)");
}

}  // namespace

std::string standing(const RigorReport& report, const std::string& group) {
  if (!report.verdict) return "";
  if (group == report.verdict->leader) return "best";
  const auto* comparison = comparison_of(report, group);
  if (comparison == nullptr) return "-";
  return (comparison->told_apart ? "worse, p " : "not told apart, p ") + p_text(comparison->corrected_p);
}

std::string method_sentence(const RigorReport& report) {
  const auto& verdict = *report.verdict;
  std::string out = cat("Compared by ", verdict.method, ", at ", percent(verdict.alpha), ", over the same ",
                        verdict.examples, " validation rows (", verdict.citation, ").\n");
  if (report.compared < report.groups.size())
    out += cat("The other ", report.groups.size() - report.compared, " of ", report.groups.size(),
               " have no score, failed, are too many, or it is not kept what they said of each row.\n");
  return out;
}

std::string noise_sentences(const NoiseReport& noise) {
  if (!noise.exact && !noise.near) return "Noise floor: no input of the data occurs twice, so that nothing tells it.\n";
  std::string out =
      "Noise floor, the error rate that no model can go below, from inputs that occur with unlike labels\n";
  if (noise.exact) out += "  equal inputs:       " + floor_text(*noise.exact) + "\n";
  if (noise.near) out += "  nearly equal ones:  " + floor_text(*noise.near) + "\n";
  return out +
         "  Cover and Hart, IEEE Transactions on Information Theory 13, 1967. Nearly equal ones may really differ, "
         "so that\n  theirs is an upper estimate.\n";
}

std::string selection_sentences(const RigorReport& report) {
  const auto& optimism = *report.optimism;
  return cat("Selection: ", report.selected, " was chosen among ", optimism.trials, " on ", optimism.examples,
             " validation rows; there it scores ", fixed(optimism.apparent), ". A choice like this scores ",
             fixed(optimism.corrected), " on rows\nthat it was not made on (95 % interval ",
             interval_text(optimism.interval), "): ", fixed(optimism.optimism),
             " of its score is optimism.\nBootstrap bias-corrected selection over ", optimism.resamples,
             " resamples (Tsamardinos et al., Machine Learning 107, 2018).\n");
}

std::string interval_method(const GroupRow& row) { return cat("Student's t over ", row.score.runs, " runs"); }

std::string winner_sentence(const RigorReport& report) {
  if (report.groups.empty() || report.groups.front().rank == 0) return "";
  const std::string best = report.groups.front().group;
  if (!report.verdict) return cat("Whether ", best, " is really the best cannot be said: ", report.no_verdict, ".");
  const auto& verdict = *report.verdict;
  std::vector<std::string> equals(verdict.best_set.begin() + 1, verdict.best_set.end());
  if (equals.empty()) return cat(verdict.leader, " is better than all others it was compared with.");
  const std::size_t apart = verdict.others.size() - equals.size();
  return cat(verdict.leader, " cannot be told apart from ", names_text(equals),
             apart == 0 ? cat(": nobody is shown to be worse.") : cat("; ", apart, " are worse."));
}

std::string format_groups(const RigorReport& report, TableFormat format) {
  if (format == TableFormat::json) return dump_json(groups_json(report), 2) + "\n";
  if (!report.grouped) {
    const std::string table = format_leaderboard(report.trials, format);
    if (format == TableFormat::csv) return table;
    const std::string verdict = verdict_text(report);
    return verdict.empty() ? table : table + "\n" + verdict;
  }
  if (format == TableFormat::csv) return groups_csv(report);
  std::string out = groups_table(report);
  const auto several = std::find_if(report.groups.begin(), report.groups.end(),
                                    [](const auto& row) { return row.score.interval.has_value(); });
  if (several != report.groups.end())
    out += cat("\nMeans over runs; intervals by ", interval_method(*several), " (Student, Biometrika 6, 1908).\n");
  return out + verdict_text(report) + row_groups_text(report);
}

std::string format_rigor(const RigorReport& report, TableFormat format) {
  if (format == TableFormat::json) return dump_json(Json(report), 2) + "\n";
  require(format == TableFormat::table, "a report on rigor is a table or JSON");
  std::string out = format_groups(report, TableFormat::table) + "\n" + decompositions_text(report) + "\n";
  if (report.noise) out += noise_sentences(*report.noise) + "\n";
  if (report.optimism) out += selection_sentences(report);
  return out;
}

}  // namespace hopyard
