#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "base/text.h"
#include "report/html_parts.h"
#include "report/timeline.h"

namespace hopyard {

namespace {

constexpr std::size_t kResolution = 1000;  // display slices for each track, about: what one can see, and 8-fold zoom
constexpr double kComputeHeight = 24, kStreamHeight = 11, kTrackGap = 3, kGroupGap = 14;
constexpr std::size_t kTicks = 8;

/// Where a track is drawn.
struct Row {
  std::uint32_t track = 0;
  std::string group, stream;
  double top = 0, height = 0;
};

struct Rows {
  std::vector<Row> rows;
  double height = 0;
};

int stream_rank(const std::string& stream) {
  return stream == "compute" ? 0 : stream == "load" ? 1 : stream == "store" ? 2 : 3;
}

/// Tracks that have slices, by device, compute first.
Rows rows_of(const ReportInput& input) {
  std::set<std::uint32_t> used;
  for (const auto& slice : input.slices) used.insert(slice.track);
  std::vector<Row> rows;
  for (const std::uint32_t track : used) {
    const std::string& name = input.tracks.at(track);
    const auto slash = name.find('/');
    rows.push_back({track, name.substr(0, slash), slash == std::string::npos ? "" : name.substr(slash + 1)});
  }
  std::map<std::string, std::uint32_t> group_order;
  for (const auto& row : rows) group_order.emplace(row.group, row.track);
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    return std::pair(group_order[a.group], stream_rank(a.stream)) <
           std::pair(group_order[b.group], stream_rank(b.stream));
  });
  double top = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i > 0) top += rows[i].group == rows[i - 1].group ? kTrackGap : kGroupGap;
    rows[i].top = top;
    rows[i].height = rows[i].stream == "compute" ? kComputeHeight : kStreamHeight;
    top += rows[i].height;
  }
  return {rows, top};
}

std::string number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3f", value);
  return buffer;
}

/// What the pointer shows.
std::string tip_of(const DisplaySlice& slice, double start_s) {
  const std::string when = text::cat(" at ", text::format_seconds(slice.begin_s - start_s));
  const std::string bytes = slice.bytes == 0 ? "" : ", " + text::format_bytes(slice.bytes);
  if (slice.idle)
    return text::cat("idle: ", slice.owner, slice.count > 1 ? text::cat(" mostly, ", slice.count, " gaps") : "", ", ",
                     text::format_seconds(slice.covered_s), when);
  if (slice.count == 1) return text::cat(slice.name, ", ", text::format_seconds(slice.covered_s), bytes, when);
  return text::cat(slice.count, " slices, mostly ", slice.owner, ", together ", text::format_seconds(slice.covered_s),
                   bytes, when);
}

/// Draws all slices; `place` turns a share of the time, 0 … 1, into an SVG length.
class SlicePainter {
 public:
  SlicePainter(const ReportInput& input, const Rows& rows) : input_(input), span_(span_of(input.slices)) {
    for (const auto& row : rows.rows) rows_[row.track] = row;
    for (const auto& trial : input.trials) colors_.emplace(trial.spec.id, trial_color(trial.spec.index));
  }

  template <class Place>
  std::string paint(std::size_t resolution, double top, Place&& place) {
    std::string out;
    for (const auto& slice : merge_for_display(input_.slices, resolution)) out += rect(slice, top, place);
    return out;
  }

  double duration_s() const { return span_.end_s - span_.begin_s; }

 private:
  template <class Place>
  std::string rect(const DisplaySlice& slice, double top, Place&& place) {
    const Row& row = rows_.at(slice.track);
    const double whole = std::max(duration_s(), 1e-9);
    const double begin = (slice.begin_s - span_.begin_s) / whole, width = (slice.end_s - slice.begin_s) / whole;
    // Gaps are a strip along the bottom of their track, so that they show beneath what was merged over them.
    const double strip = std::min(6.0, row.height / 2);
    const double y = top + (slice.idle ? row.top + row.height - strip : row.top);
    const double height = slice.idle ? strip : row.height;
    const double opacity = std::clamp(slice.covered_s / std::max(slice.end_s - slice.begin_s, 1e-12), 0.15, 1.0);
    std::string out = text::cat("<rect x=\"", place(begin), "\" y=\"", y, "\" width=\"", place(width), "\" height=\"",
                                height, "\" fill=\"", color_of(slice), "\"");
    if (opacity < 0.995) out += " opacity=\"" + text::format_number(opacity, 2) + "\"";
    return out + text::cat(" data-t=\"", escape_html(tip_of(slice, span_.begin_s)), "\"/>\n");
  }

  std::string color_of(const DisplaySlice& slice) const {
    if (slice.idle) return cause_color(slice.owner);
    const auto known = colors_.find(slice.owner);
    return known == colors_.end() ? "#8a8f98" : known->second;
  }

  const ReportInput& input_;
  const TimeSpan span_;
  std::map<std::uint32_t, Row> rows_;
  std::map<std::string, std::string> colors_;
};

std::vector<std::string> causes_of(const std::vector<TraceSlice>& slices) {
  std::set<std::string> causes;
  for (const auto& slice : slices)
    if (slice.category == "idle") causes.insert(slice.name);
  return {causes.begin(), causes.end()};
}

std::string legend(const ReportInput& input) {
  std::string out = "<div class=\"legend\">";
  for (const auto& trial : input.trials) out += swatch(trial_color(trial.spec.index), trial.spec.id);
  for (const auto& cause : causes_of(input.slices)) out += swatch(cause_color(cause), "idle: " + cause);
  return out + "</div>";
}

std::string labels(const Rows& rows) {
  std::string out = text::cat("<div class=\"labels\" style=\"height:", rows.height, "px\">");
  std::string group;
  for (const auto& row : rows.rows) {
    const bool first = row.group != group;
    group = row.group;
    const std::string name = row.stream.empty() ? "" : row.stream;
    out += text::cat("<div style=\"top:", row.top, "px;height:", row.height, "px\"><b>",
                     first ? escape_html(row.group) : "", "</b><span>", escape_html(name), "</span></div>");
  }
  return out + "</div>";
}

std::string axis(double duration_s) {
  std::string out = text::cat("<div class=\"axis\" data-seconds=\"", duration_s, "\">");
  if (duration_s > 0)
    for (const double tick : round_ticks(0, duration_s, kTicks))
      out += text::cat("<span style=\"left:", number(100 * tick / duration_s), "%\">",
                       text::format_number(tick, duration_s < 10 ? 2 : 0), " s</span>");
  return out + "</div>";
}

}  // namespace

std::string timeline_section(const ReportInput& input) {
  if (input.slices.empty()) return "";
  const Rows rows = rows_of(input);
  SlicePainter painter(input, rows);
  const auto percent = [](double share) { return number(100 * share) + "%"; };
  std::string out = "<section id=\"timeline\"><h2>Device timeline</h2>";
  out += text::cat("<p class=\"note\">", input.slices.size(),
                   " slices, coloured by trial; a thin strip below marks idle time by its cause. "
                   "Neighbours too short to be seen are drawn as one, paler where they leave gaps. Every slice is in "
                   "trace.json (open it in Perfetto).");
  if (input.dropped_slices > 0) out += text::cat(" ", input.dropped_slices, " later slices were not kept.");
  out += "</p>" + legend(input) +
         "<label class=\"zoom\">zoom <input type=\"range\" min=\"1\" max=\"8\" step=\"0.5\" value=\"1\"></label>";
  out += "<div class=\"timeline\">" + labels(rows) + "<div class=\"scroll\"><div class=\"canvas\">";
  out += text::cat("<svg width=\"100%\" height=\"", rows.height, "\" role=\"img\" aria-label=\"Device timeline\">\n",
                   painter.paint(kResolution, 0, percent), "</svg>", axis(painter.duration_s()));
  return out + "</div></div></div></section>\n";
}

std::string timeline_svg(const ReportInput& input) {
  constexpr double kLabel = 150, kWidth = 1200, kTop = 14, kBelow = 52;
  const Rows rows = rows_of(input);
  SlicePainter painter(input, rows);
  const double plot = kWidth - kLabel - 20, bottom = kTop + rows.height, height = bottom + kBelow;
  std::string out = text::cat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", kWidth, " ", height,
                              "\" font-family=\"system-ui,sans-serif\" font-size=\"11\">\n"
                              "<style>text{fill:#444}@media(prefers-color-scheme:dark){text{fill:#bbb}}</style>\n");
  std::string group;
  for (const auto& row : rows.rows) {
    const double middle = kTop + row.top + row.height / 2 + 4;
    if (row.group != group)
      out += text::cat("<text x=\"0\" y=\"", middle, "\" font-weight=\"bold\">", escape_html(row.group), "</text>\n");
    if (!row.stream.empty())
      out += text::cat("<text x=\"", kLabel - 8, "\" y=\"", middle, "\" text-anchor=\"end\">", escape_html(row.stream),
                       "</text>\n");
    group = row.group;
  }
  out += text::cat("<svg x=\"", kLabel, "\" y=\"0\" width=\"", plot, "\" height=\"", bottom, "\">\n",
                   painter.paint(kResolution, kTop, [&](double share) { return number(share * plot); }), "</svg>\n");
  if (painter.duration_s() > 0)
    for (const double tick : round_ticks(0, painter.duration_s(), kTicks))
      out += text::cat("<text x=\"", number(kLabel + plot * tick / painter.duration_s()), "\" y=\"", bottom + 16,
                       "\" text-anchor=\"middle\">", tick, " s</text>\n");
  double x = kLabel;
  const auto entry = [&](const std::string& color, const std::string& label) {
    out += text::cat("<rect x=\"", x, "\" y=\"", bottom + 30, "\" width=\"10\" height=\"10\" rx=\"2\" fill=\"", color,
                     "\"/><text x=\"", x + 14, "\" y=\"", bottom + 39, "\">", escape_html(label), "</text>\n");
    x += 30 + 6.5 * static_cast<double>(label.size());
  };
  for (const auto& trial : input.trials) entry(trial_color(trial.spec.index), trial.spec.id);
  for (const auto& cause : causes_of(input.slices)) entry(cause_color(cause), "idle: " + cause);
  return out + "</svg>\n";
}

}  // namespace hopyard
