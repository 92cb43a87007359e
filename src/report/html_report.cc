#include "report/html_report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/text.h"
#include "report/html_parts.h"
#include "report/learning_curve.h"
#include "report/looks.h"

namespace hopyard {

namespace {

using text::cat;

std::string cell(const std::string& content, const char* kind = "") { return cat("<td", kind, ">", content, "</td>"); }
std::string text_cell(const std::string& content) { return cell(escape_html(content)); }
std::string number_cell(const std::string& content) { return cell(escape_html(content), " class=\"n\""); }

/// A number that sorts by its value and not by its text; what is missing sorts last.
std::string sorted_cell(const std::string& shown, const std::optional<double>& value) {
  const std::string key = value && std::isfinite(*value) ? to_string(SettingValue(*value)) : "";
  return cat("<td class=\"n\" data-v=\"", key, "\">", escape_html(shown), "</td>");
}

std::string share_text(double part, double whole) { return whole > 0 ? format_in_unit(part / whole, "fraction") : "-"; }

std::string tile(const std::string& label, const std::string& value, const std::string& detail) {
  return cat("<div class=\"tile\"><span>", escape_html(label), "</span><b>", escape_html(value), "</b><small>",
             escape_html(detail), "</small></div>");
}

std::ptrdiff_t count_of(const std::vector<LeaderboardRow>& rows, TrialState state) {
  return std::count_if(rows.begin(), rows.end(), [&](const auto& row) { return row.state == state; });
}

std::string tiles(const ReportInput& input) {
  const RunSummary& run = input.summary;
  double busy = 0, wall = 0;
  for (const auto& device : run.devices) busy += device.busy_s, wall += device.wall_s;
  std::string out = "<div class=\"tiles\">";
  if (!input.leaderboard.empty() && input.leaderboard.front().metric)
    out += tile("best trial", text::format_number(*input.leaderboard.front().metric, 4),
                input.leaderboard.front().trial + ", " + input.leaderboard.front().metric_name);
  const auto failed = count_of(input.leaderboard, TrialState::failed);
  out +=
      tile("trials finished", cat(count_of(input.leaderboard, TrialState::finished), " of ", input.leaderboard.size()),
           failed > 0 ? cat(failed, " failed") : "");
  out += tile("time", format_in_unit(run.wall_s, "s"), any_emulated(run) ? "on emulated devices" : "");
  out += tile("devices busy", share_text(busy, wall),
              cat(run.devices.size(), any_emulated(run) ? " emulated devices" : " devices"));
  out += tile("written to " + run.tiers.name_of("disk"), text::format_bytes(run.tiers.disk_written),
              cat("read ", text::format_bytes(run.tiers.disk_read)));
  return out + "</div>";
}

std::string header(const ReportInput& input) {
  std::string out = cat("<header><h1>", escape_html(input.summary.name), "</h1><p>Hopyard run");
  if (any_emulated(input.summary)) out += " <span class=\"badge\">emulated devices</span>";
  for (const auto& statement : input.summary.machine) out += " · " + escape_html(statement);
  return out + "</p></header>" + tiles(input);
}

std::string setting_cell(const LeaderboardRow& row, const std::string& path) {
  for (const auto& setting : row.settings) {
    if (setting.path != path) continue;
    if (const auto* real = std::get_if<double>(&setting.value)) return sorted_cell(to_string(setting.value), *real);
    if (const auto* whole = std::get_if<std::int64_t>(&setting.value))
      return sorted_cell(to_string(setting.value), static_cast<double>(*whole));
    return text_cell(to_string(setting.value));
  }
  return cell("");
}

std::string score_cell(const std::optional<double>& value) {
  return sorted_cell(value ? text::format_number(*value, 4) : "-", value);
}

std::string leaderboard_row(const LeaderboardRow& row, const std::vector<std::string>& paths, const std::string& color,
                            bool with_skipped) {
  const auto rank = row.rank == 0 ? std::nullopt : std::optional<double>(row.rank);
  std::string out = "<tr>" + sorted_cell(rank ? std::to_string(row.rank) : "-", rank) + cell(swatch(color, row.trial));
  for (const auto& path : paths) out += setting_cell(row, path);
  const std::string state = to_string(row.state);
  out += cell(cat("<span class=\"state ", state, "\" title=\"", escape_html(row.reason), "\">", state, "</span>"));
  out += sorted_cell(to_string(row.epochs), row.epochs.value());
  out += score_cell(row.train_loss) + score_cell(row.valid_loss) + score_cell(row.metric);
  out += sorted_cell(row.seconds > 0 ? format_in_unit(row.seconds, "s") : "-", row.seconds);
  if (with_skipped) out += sorted_cell(std::to_string(row.skipped_steps), static_cast<double>(row.skipped_steps));
  return out +
         cat("<td><code title=\"", escape_html(row.digest), "\">", escape_html(row.digest), "</code></td></tr>\n");
}

std::string leaderboard_section(const ReportInput& input) {
  const auto& rows = input.leaderboard;
  if (rows.empty()) return "";
  std::map<std::string, std::string> colors;
  for (const auto& trial : input.trials) colors[trial.spec.id] = trial_color(trial.spec.index);
  const auto paths = setting_paths(rows);
  std::vector<std::string> headers{"rank", "trial"};
  for (const auto& name : short_setting_names(paths)) headers.push_back(name);
  for (const std::string& name : {std::string("state"), std::string("epochs"), std::string("train/loss"),
                                  std::string("valid/loss"), rows.front().metric_name, std::string("time")})
    headers.push_back(name);
  const bool with_skipped = any_skipped(rows);
  if (with_skipped) headers.push_back("skipped steps");
  headers.push_back("digest");
  std::string out =
      "<section id=\"leaderboard\"><h2>Leaderboard</h2><div class=\"wide\"><table class=\"sortable\"><thead><tr>";
  for (const auto& name : headers) out += cat("<th><button>", escape_html(name), "</button></th>");
  out += "</tr></thead><tbody>\n";
  for (const auto& row : rows)
    out += leaderboard_row(row, paths, colors.count(row.trial) ? colors[row.trial] : "#8a8f98", with_skipped);
  out += "</tbody></table></div>";
  for (const auto& row : rows)
    if (!row.reason.empty())
      out += cat("<p class=\"note\">", escape_html(row.trial), " ", to_string(row.state), ": ", escape_html(row.reason),
                 "</p>");
  return out + "</section>\n";
}

std::string bar_part(double share, const std::string& color, const std::string& tip) {
  if (!(share > 0)) return "";
  return cat("<i style=\"width:", text::format_number(100 * std::min(share, 1.0), 3), "%;background:", color,
             "\" data-t=\"", escape_html(tip), "\"></i>");
}

std::string device_bar(const DeviceSummary& device, std::vector<std::string>& causes) {
  const double wall = device.wall_s;
  double told = device.busy_s;
  std::string bar = bar_part(device.busy_s / wall, "var(--busy)",
                             cat("busy ", share_text(device.busy_s, wall), ", ", format_in_unit(device.busy_s, "s")));
  for (const auto& idle : device.idle) {
    told += idle.seconds;
    bar += bar_part(
        idle.seconds / wall, cause_color(idle.cause),
        cat("idle: ", idle.cause, " ", share_text(idle.seconds, wall), ", ", format_in_unit(idle.seconds, "s")));
    if (idle.seconds > 0 && std::find(causes.begin(), causes.end(), idle.cause) == causes.end())
      causes.push_back(idle.cause);
  }
  const double untold = wall - told;
  if (untold > 0.001 * wall)
    bar += bar_part(untold / wall, "transparent", cat("not recorded ", share_text(untold, wall)));
  return cat("<div class=\"row\"><span>", escape_html(device_label(device)), "</span><div class=\"bar\">", bar,
             "</div><em>", share_text(device.busy_s, wall), "</em></div>");
}

std::string devices_section(const RunSummary& run) {
  if (run.devices.empty()) return "";
  std::vector<std::string> causes;
  std::string bars;
  for (const auto& device : run.devices) bars += device_bar(device, causes);
  std::string out =
      "<section id=\"devices\"><h2>Busy and idle time</h2><div class=\"legend\">" + swatch("var(--busy)", "busy");
  for (const auto& cause : causes) out += swatch(cause_color(cause), "idle: " + cause);
  return out + "</div><div class=\"rows\">" + bars + "</div></section>\n";
}

std::string peak_row(const std::string& name, Bytes peak, Bytes budget) {
  const double share = budget > 0 ? static_cast<double>(peak) / static_cast<double>(budget) : 0;
  const std::string numbers =
      budget > 0 ? cat(text::format_bytes(peak), " of ", text::format_bytes(budget)) : text::format_bytes(peak);
  return cat("<div class=\"row\"><span>", escape_html(name), "</span><div class=\"bar\">",
             bar_part(share, share > 1 ? "var(--bad)" : "var(--peak)", numbers), "</div><em>", numbers, "</em></div>");
}

std::string peaks_section(const RunSummary& run) {
  std::string out = "<section id=\"peaks\"><h2>Memory peaks against budgets</h2><div class=\"rows\">";
  for (const auto& device : run.devices)
    out += peak_row(device_label(device), device.memory_peak, device.memory_budget);
  out += peak_row(run.tiers.name_of("host"), run.tiers.host_peak, run.tiers.host_budget) +
         peak_row(run.tiers.name_of("disk"), run.tiers.disk_peak, run.tiers.disk_budget) + "</div>";
  if (run.program_image_bytes > 0)
    out += cat("<p class=\"note\">The program image, ", text::format_bytes(run.program_image_bytes),
               ", is in no budget.</p>");
  return out + "</section>\n";
}

std::string transfers_section(const RunSummary& run) {
  if (run.transfers.empty()) return "";
  std::string out =
      "<section id=\"transfers\"><h2>Bytes moved</h2><table><thead><tr><th>from</th><th>to</th><th "
      "class=\"n\">bytes</th><th class=\"n\">mean rate</th></tr></thead><tbody>\n";
  for (const auto& transfer : run.transfers)
    out += cat(
        "<tr>", text_cell(transfer.from), text_cell(transfer.to), number_cell(text::format_bytes(transfer.bytes)),
        number_cell(run.wall_s > 0 ? format_in_unit(static_cast<double>(transfer.bytes) / run.wall_s, "bytes/s") : "-"),
        "</tr>\n");
  return out + "</tbody></table></section>\n";
}

std::string comparisons_section(const RunSummary& run) {
  if (run.comparisons.empty()) return "";
  std::string out = cat("<section id=\"predictions\"><h2>Predicted and measured",
                        any_emulated(run) ? " <span class=\"badge\">emulated devices</span>" : "",
                        "</h2><table><thead><tr><th>prediction</th><th class=\"n\">predicted</th><th "
                        "class=\"n\">measured</th><th class=\"n\">ratio</th></"
                        "tr></thead><tbody>\n");
  for (const auto& c : run.comparisons)
    out += cat("<tr>", text_cell(c.what), number_cell(format_in_unit(c.predicted, c.unit)),
               number_cell(format_in_unit(c.measured, c.unit)), number_cell(format_ratio(c)), "</tr>\n");
  return out + "</tbody></table></section>\n";
}

// Somebody may look at the test split when the report has long been written.
constexpr const char *kLooksBegin = "<!--looks-->", *kLooksEnd = "<!--/looks-->";

}  // namespace

std::string with_looks(const std::string& report, const std::vector<TestLook>& looks) {
  const auto begin = report.find(kLooksBegin), end = report.find(kLooksEnd);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return report;
  return report.substr(0, begin) + kLooksBegin + looks_section(looks) + report.substr(end);
}

std::string html_report(const ReportInput& input) {
  return cat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n"
      "<title>",
      escape_html(input.summary.name), " · Hopyard</title>\n<style>", kReportCss, "</style></head><body><main>\n",
      header(input), input.rigor ? rigor_section(*input.rigor) : "", leaderboard_section(input), kLooksBegin,
      looks_section(input.looks), kLooksEnd, learning_curve_section(input.leaderboard), curves_section(input.trials),
      timeline_section(input), "<div class=\"pair\">", devices_section(input.summary), peaks_section(input.summary),
      "</div><div class=\"pair\">", comparisons_section(input.summary), transfers_section(input.summary),
      "</div></main><div id=\"tip\" hidden></div>\n<script>", kReportScript, "</script></body></html>\n");
}

}  // namespace hopyard
