#include "report/learning_curve.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "base/text.h"
#include "report/html_parts.h"
#include "report/table.h"

namespace hopyard {

namespace {

constexpr double kWidth = 1000, kHeight = 380, kLeft = 52, kRight = 24, kTop = 12, kBottom = 40;
constexpr int kDecimals = 4;

std::optional<std::int64_t> rows_of(const LeaderboardRow& row) {
  for (const auto& setting : row.settings)
    if (setting.path == kRowsPath)
      if (const auto* whole = std::get_if<std::int64_t>(&setting.value)) return *whole;
  return std::nullopt;
}

constexpr std::string_view kModel = "model.";

std::string method_of(const LeaderboardRow& row) {
  std::vector<std::string> parts;
  for (const auto& setting : row.settings)
    if (setting.path.starts_with(kModel))
      parts.push_back(setting.path.substr(kModel.size()) + " " + to_string(setting.value));
  return parts.empty() ? "all trials" : text::join(parts, ", ");
}

std::string settings_of(const LeaderboardRow& row) {
  std::string out;
  for (const auto& setting : row.settings) out += setting.path + "=" + to_string(setting.value) + "\n";
  return out;
}

/// Trials that differ in nothing that was searched.
struct Alike {
  std::string method;
  std::int64_t rows = 0;
  std::vector<double> metrics;
  std::vector<std::string> trials;
};

std::vector<Alike> alike_trials(const std::vector<LeaderboardRow>& rows) {
  std::vector<Alike> all;
  std::map<std::string, std::size_t> places;
  for (const auto& row : rows) {
    const auto count = rows_of(row);
    if (!count || !row.metric || row.rank == 0) continue;
    const auto [place, fresh] = places.emplace(settings_of(row), all.size());
    if (fresh) all.push_back({method_of(row), *count, {}, {}});
    all[place->second].metrics.push_back(*row.metric);
    all[place->second].trials.push_back(row.trial);
  }
  return all;
}

LearningPoint point_of(const Alike& alike) {
  LearningPoint point{alike.rows, 0, alike.metrics[0], alike.metrics[0], alike.trials};
  for (const double metric : alike.metrics) {
    point.mean += metric / static_cast<double>(alike.metrics.size());
    point.low = std::min(point.low, metric);
    point.high = std::max(point.high, metric);
  }
  return point;
}

/// Whether a larger metric ranks higher, as the order of the rows shows.
bool is_maximized(const std::vector<LeaderboardRow>& rows) {
  std::optional<double> first, last;
  for (const auto& row : rows) {
    if (row.rank == 0 || !row.metric) continue;
    if (!first) first = row.metric;
    last = row.metric;
  }
  return !first || *first >= *last;
}

std::set<std::int64_t> row_counts(const std::vector<LearningCurve>& curves) {
  std::set<std::int64_t> counts;
  for (const auto& curve : curves)
    for (const auto& point : curve.points) counts.insert(point.rows);
  return counts;
}

const LearningPoint* find_point(const LearningCurve& curve, std::int64_t rows) {
  const auto found = std::find_if(curve.points.begin(), curve.points.end(),
                                  [&](const LearningPoint& point) { return point.rows == rows; });
  return found == curve.points.end() ? nullptr : &*found;
}

std::string spread_text(const LearningPoint& point) {
  if (point.trials.size() < 2) return "";
  return text::cat(" (", text::format_number(point.low, kDecimals), " to ", text::format_number(point.high, kDecimals),
                   ", ", point.trials.size(), " trials)");
}

/// Rows are on a logarithmic axis: what twice as many labels give is what people ask.
struct Frame {
  double low_x = 0, high_x = 1, low_y = 0, high_y = 1;
  double x(std::int64_t rows) const {
    return kLeft + (std::log(static_cast<double>(rows)) - low_x) / (high_x - low_x) * (kWidth - kLeft - kRight);
  }
  double y(double metric) const { return kTop + (high_y - metric) / (high_y - low_y) * (kHeight - kTop - kBottom); }
};

Frame frame_of(const std::vector<LearningCurve>& curves) {
  const auto counts = row_counts(curves);
  Frame frame;
  const double first = std::log(static_cast<double>(*counts.begin()));
  const double last = std::log(static_cast<double>(*counts.rbegin()));
  frame.low_x = first - 0.04 * (last - first);
  frame.high_x = last + 0.04 * (last - first);
  double low = curves[0].points[0].low, high = curves[0].points[0].high;
  for (const auto& curve : curves)
    for (const auto& point : curve.points) low = std::min(low, point.low), high = std::max(high, point.high);
  const double margin = std::max((high - low) * 0.06, 1e-9 * std::max(1.0, std::abs(high)));
  frame.low_y = low - margin;
  frame.high_y = high + margin;
  return frame;
}

std::string axes(const Frame& frame, const std::vector<LearningCurve>& curves) {
  std::string out;
  for (const double tick : round_ticks(frame.low_y, frame.high_y, 6))
    out += text::cat("<line x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"", frame.y(tick), "\" y2=\"",
                     frame.y(tick), "\"/><text x=\"", kLeft - 8, "\" y=\"", frame.y(tick) + 4,
                     "\" text-anchor=\"end\">", tick, "</text>\n");
  for (const std::int64_t rows : row_counts(curves))
    out += text::cat("<text x=\"", frame.x(rows), "\" y=\"", kHeight - kBottom + 18, "\" text-anchor=\"middle\">", rows,
                     "</text>\n");
  return out + text::cat("<text x=\"", kWidth - kRight, "\" y=\"", kHeight - 4,
                         "\" text-anchor=\"end\">labelled rows</text>\n");
}

std::string line_of(const LearningCurve& curve, const Frame& frame, const std::string& color) {
  std::string path, marks;
  for (const auto& point : curve.points) {
    const std::string x = text::format_number(frame.x(point.rows), 1);
    path += text::cat(path.empty() ? "M" : "L", x, " ", text::format_number(frame.y(point.mean), 1));
    if (point.high > point.low)
      marks += text::cat("<path d=\"M", x, " ", text::format_number(frame.y(point.low), 1), "L", x, " ",
                         text::format_number(frame.y(point.high), 1), "\"/>");
    marks += text::cat("<circle cx=\"", x, "\" cy=\"", text::format_number(frame.y(point.mean), 1),
                       "\" r=\"4\"><title>", escape_html(curve.method), ", ", point.rows,
                       " rows: ", text::format_number(point.mean, kDecimals), escape_html(spread_text(point)), "; ",
                       escape_html(text::join(point.trials, ", ")), "</title></circle>");
  }
  return text::cat("<g stroke=\"", color, "\"><path d=\"", path, "\"/>", marks, "</g>\n");
}

std::string metric_name(const std::vector<LeaderboardRow>& rows) { return rows.empty() ? "" : rows[0].metric_name; }

}  // namespace

std::vector<LearningCurve> learning_curves(const std::vector<LeaderboardRow>& rows) {
  const bool maximized = is_maximized(rows);
  std::vector<LearningCurve> curves;
  for (const Alike& alike : alike_trials(rows)) {
    auto curve = std::find_if(curves.begin(), curves.end(),
                              [&](const LearningCurve& known) { return known.method == alike.method; });
    if (curve == curves.end()) curve = curves.insert(curve, {alike.method, {}});
    const LearningPoint point = point_of(alike);
    const auto known = std::find_if(curve->points.begin(), curve->points.end(),
                                    [&](const LearningPoint& other) { return other.rows == point.rows; });
    if (known == curve->points.end())
      curve->points.push_back(point);
    else if (maximized ? point.mean > known->mean : point.mean < known->mean)
      *known = point;
  }
  for (auto& curve : curves)
    std::sort(curve.points.begin(), curve.points.end(),
              [](const LearningPoint& a, const LearningPoint& b) { return a.rows < b.rows; });
  return row_counts(curves).size() < 2 ? std::vector<LearningCurve>() : curves;
}

std::string format_learning_curves(const std::vector<LeaderboardRow>& rows) {
  const auto curves = learning_curves(rows);
  if (curves.empty()) return "";
  const bool maximized = is_maximized(rows);
  const auto counts = row_counts(curves);
  std::map<std::int64_t, double> best;
  for (const auto& curve : curves)
    for (const auto& point : curve.points) {
      const auto [held, fresh] = best.emplace(point.rows, point.mean);
      if (!fresh) held->second = maximized ? std::max(held->second, point.mean) : std::min(held->second, point.mean);
    }
  std::vector<Column> columns{{"method", Align::left}};
  for (const auto count : counts) columns.push_back({text::cat(count, " rows "), Align::right});
  Table table(columns);
  for (const auto& curve : curves) {
    std::vector<std::string> cells{curve.method};
    for (const auto count : counts) {
      const LearningPoint* point = find_point(curve, count);
      cells.push_back(point == nullptr ? "- "
                                       : text::cat(text::format_number(point->mean, kDecimals),
                                                   point->mean == best.at(count) ? "*" : " "));
    }
    table.add_row(cells);
  }
  return text::cat(metric_name(rows), " by labelled rows, the best that was tried of each method (* of all):\n",
                   table.to_text(2));
}

std::string learning_curve_section(const std::vector<LeaderboardRow>& rows) {
  const auto curves = learning_curves(rows);
  if (curves.empty()) return "";
  const Frame frame = frame_of(curves);
  std::string legend, lines;
  for (std::size_t i = 0; i < curves.size(); ++i) {
    legend += swatch(trial_color(i), curves[i].method);
    lines += line_of(curves[i], frame, trial_color(i));
  }
  return text::cat(
      "<section id=\"learning-curve\"><h2>", escape_html(metric_name(rows)),
      " by labelled rows</h2><p class=\"note\">One line for each method, with the best that was tried of "
      "it at each number of rows; bars reach from the worst to the best of trials that differ in their "
      "seed alone. Chosen on the validation rows, the best are a little too good.</p><div class=\"legend\">",
      legend, "</div><svg class=\"plot\" viewBox=\"0 0 ", kWidth, " ", kHeight,
      "\" role=\"img\" aria-label=\"Learning curves\">\n<g class=\"grid\">", axes(frame, curves),
      "</g>\n<g class=\"lines\">\n", lines, "</g></svg></section>\n");
}

}  // namespace hopyard
