// The section of report.html that says whether the best is really better.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "report/html_parts.h"
#include "report/table.h"

namespace hopyard {

namespace {

using text::cat;

constexpr double kWidth = 640, kRowHeight = 26, kLeft = 110, kRight = 16, kTop = 8, kBottom = 26;
constexpr std::size_t kGroupsShown = 40;

std::string fixed(double value) { return text::format_number(value, 4); }
std::string text_cell(const std::string& content) { return cat("<td>", escape_html(content), "</td>"); }
std::string number_cell(const std::string& content) { return cat("<td class=\"n\">", escape_html(content), "</td>"); }

/// Sentences as paragraphs, one for each line.
std::string paragraphs(const std::string& lines) {
  std::string out;
  for (const auto& line : text::split(lines, '\n'))
    if (!line.empty()) out += cat("<p class=\"note\">", escape_html(line), "</p>");
  return out;
}

/// Groups with an interval, the best first.
std::vector<const GroupRow*> drawn(const RigorReport& report) {
  std::vector<const GroupRow*> rows;
  for (const auto& row : report.groups)
    if (row.score.interval && std::isfinite(row.score.interval->low) && std::isfinite(row.score.interval->high) &&
        rows.size() < kGroupsShown)
      rows.push_back(&row);
  return rows;
}

/// Means as dots, intervals as lines, each run as a mark.
std::string interval_plot(const RigorReport& report) {
  const auto rows = drawn(report);
  if (rows.empty()) return "";
  double low = rows[0]->score.interval->low, high = rows[0]->score.interval->high;
  for (const auto* row : rows) {
    low = std::min(low, row->score.interval->low);
    high = std::max(high, row->score.interval->high);
  }
  if (!(high > low)) low -= 0.5, high += 0.5;
  const auto x_of = [&](double value) {
    return text::format_number(kLeft + std::clamp((value - low) / (high - low), 0.0, 1.0) * (kWidth - kLeft - kRight),
                               1);
  };
  const double height = kTop + static_cast<double>(rows.size()) * kRowHeight + kBottom;
  std::string out = cat("<div class=\"canvas\"><svg viewBox=\"0 0 ", kWidth, " ", height,
                        "\" role=\"img\" aria-label=\"mean and interval of each group\">");
  for (const double tick : round_ticks(low, high, 5))
    out += cat("<line x1=\"", x_of(tick), "\" x2=\"", x_of(tick), "\" y1=\"", kTop, "\" y2=\"", height - kBottom,
               "\" stroke=\"currentColor\" opacity=\"0.15\"/><text x=\"", x_of(tick), "\" y=\"", height - 8,
               "\" text-anchor=\"middle\" font-size=\"12\" fill=\"currentColor\">", to_string(SettingValue(tick)),
               "</text>");
  double y = kTop + kRowHeight / 2;
  for (const auto* row : rows) {
    const auto& interval = *row->score.interval;
    const bool leads = report.verdict && report.verdict->leader == row->group;
    out += cat("<g stroke=\"currentColor\" fill=\"currentColor\"><text x=\"", kLeft - 10, "\" y=\"", y + 4,
               "\" text-anchor=\"end\" stroke=\"none\" font-size=\"13\"", leads ? " font-weight=\"700\"" : "", ">",
               escape_html(clip_to_width(row->group, 14)), "</text><line x1=\"", x_of(interval.low), "\" x2=\"",
               x_of(interval.high), "\" y1=\"", y, "\" y2=\"", y, "\" stroke-width=\"2\"/><circle cx=\"",
               x_of(row->score.mean), "\" cy=\"", y, "\" r=\"4.5\"/>");
    for (const double metric : row->run_metrics)
      if (std::isfinite(metric))
        out += cat("<circle cx=\"", x_of(metric), "\" cy=\"", y, "\" r=\"3\" fill=\"none\" opacity=\"0.6\"/>");
    out += "</g>";
    y += kRowHeight;
  }
  return out + "</svg></div>";
}

std::string groups_table(const RigorReport& report) {
  std::string out = cat("<div class=\"wide\"><table><thead><tr><th>rank</th><th>group</th><th class=\"n\">runs</th>",
                        "<th class=\"n\">", escape_html(report.metric),
                        "</th><th class=\"n\">95 % interval</th><th>against the best</th></tr></thead><tbody>\n");
  for (const auto& row : report.groups) {
    const bool scored = row.score.runs > 0;
    out += cat(
        "<tr>", number_cell(row.rank == 0 ? "-" : std::to_string(row.rank)), text_cell(row.group),
        number_cell(cat(row.score.runs)), number_cell(scored ? fixed(row.score.mean) : "-"),
        number_cell(row.score.interval ? cat(fixed(row.score.interval->low), " to ", fixed(row.score.interval->high))
                                       : "-"),
        text_cell(standing(report, row.group)), "</tr>\n");
  }
  return out + "</tbody></table></div>";
}

std::string row_groups_table(const RigorReport& report) {
  const auto leaders = row_group_leaders(report);
  if (leaders.empty()) return "";
  std::string out =
      cat("<h3>Groups of rows by ", escape_html(report.group_by),
          "</h3><div class=\"wide\"><table><thead><tr><th class=\"n\">", escape_html(report.group_by),
          "</th><th class=\"n\">training rows</th><th class=\"n\">validation rows</th><th>best there</th>",
          "<th class=\"n\">", escape_html(report.metric),
          "</th><th class=\"n\">of the best over all</th></tr></thead><tbody>\n");
  const auto cell = [](const std::optional<double>& metric) { return number_cell(metric ? fixed(*metric) : "-"); };
  for (const auto& leader : leaders)
    out += cat("<tr>", number_cell(cat(leader.rows.value)), number_cell(cat(leader.rows.train_rows)),
               number_cell(cat(leader.rows.valid_rows)), text_cell(leader.best.empty() ? "-" : leader.best),
               cell(leader.metric), cell(leader.of_overall), "</tr>\n");
  return out + "</tbody></table></div>";
}

std::string terms_row(const Decomposition& parts, const char* loss, const rigor::LossTerms& terms) {
  return cat("<tr>", text_cell(parts.group), text_cell(loss), number_cell(cat(parts.runs)),
             number_cell(fixed(terms.loss)), number_cell(fixed(terms.bias)), number_cell(fixed(terms.variance)),
             "</tr>\n");
}

std::string decompositions_table(const RigorReport& report) {
  if (report.decompositions.empty()) return "";
  std::string out =
      "<h3>Bias and variance over the runs of a group</h3><div class=\"wide\"><table><thead><tr><th>group</th><th>loss"
      "</th><th class=\"n\">runs</th><th class=\"n\">mean</th><th class=\"n\">bias, with noise</th><th class=\"n\">"
      "variance</th></tr></thead><tbody>\n";
  for (const auto& parts : report.decompositions) {
    if (parts.zero_one) out += terms_row(parts, "0/1 (Domingos 2000)", parts.zero_one->terms);
    if (parts.log_loss) out += terms_row(parts, "log (Heskes 1998)", *parts.log_loss);
    if (parts.squared) out += terms_row(parts, "squared (Geman et al. 1992)", *parts.squared);
  }
  return out + "</tbody></table></div>";
}

}  // namespace

std::string rigor_section(const RigorReport& report) {
  const std::string sentence = winner_sentence(report);
  if (sentence.empty()) return "";
  std::string out = cat("<section id=\"rigor\"><h2>Is the best really better?</h2><p>", escape_html(sentence), "</p>");
  if (report.grouped) out += interval_plot(report) + groups_table(report) + row_groups_table(report);
  if (report.verdict) out += paragraphs(method_sentence(report));
  out += decompositions_table(report);
  if (report.optimism) out += paragraphs(selection_sentences(report));
  if (report.noise) out += paragraphs(noise_sentences(*report.noise));
  return out + "</section>\n";
}

}  // namespace hopyard
