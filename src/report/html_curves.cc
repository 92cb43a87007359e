#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "report/html_parts.h"
#include "report/json_fields.h"

namespace hopyard {

namespace {

constexpr std::size_t kPoints = 300;  // of a curve, at most: more than a screen shows
constexpr double kWidth = 1000, kHeight = 360, kLeft = 48, kRight = 12, kTop = 10, kBottom = 34;
constexpr std::size_t kSmoothing = 30;   // the strong line is the mean over a fifteenth of the curve
constexpr double kHighestShown = 0.995;  // quantile: a step that blew up must not flatten all else

struct Point {
  double step = 0, loss = 0;
};

/// Means of equally many neighbours; losses that are not finite are left out.
std::vector<Point> thinned(const std::vector<CurvePoint>& curve) {
  const std::size_t stride = std::max<std::size_t>(1, (curve.size() + kPoints - 1) / kPoints);
  std::vector<Point> points;
  for (std::size_t begin = 0; begin < curve.size(); begin += stride) {
    double steps = 0, losses = 0, count = 0;
    for (std::size_t i = begin; i < std::min(begin + stride, curve.size()); ++i) {
      if (!std::isfinite(curve[i].loss)) continue;
      steps += static_cast<double>(curve[i].step), losses += curve[i].loss, count += 1;
    }
    if (count > 0) points.push_back({steps / count, losses / count});
  }
  return points;
}

/// Each point's mean with its neighbours; where the curve begins steeply, as many before as behind.
std::vector<Point> smoothed(const std::vector<Point>& points) {
  const std::size_t reach = points.size() / kSmoothing;
  std::vector<Point> out;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::size_t before = std::min(reach, i), behind = std::min(before, points.size() - 1 - i);
    double losses = 0;
    for (std::size_t j = i - before; j <= i + behind; ++j) losses += points[j].loss;
    out.push_back({points[i].step, losses / static_cast<double>(before + behind + 1)});
  }
  return out;
}

/// Validation losses, where the last commit tells how many steps an epoch has.
std::vector<Point> validations(const TrialRecord& trial) {
  std::vector<Point> points;
  if (!trial.last || !trial.last->score || trial.last->score->epoch == 0) return points;
  const double steps = static_cast<double>(trial.last->steps) / trial.last->score->epoch.value();
  for (const auto& score : trial.scores)
    if (std::isfinite(score.valid_loss)) points.push_back({steps * score.epoch.value(), score.valid_loss});
  return points;
}

struct Series {
  std::string id, label, color;
  std::vector<Point> train, valid;
};

std::vector<Series> series_of(const std::vector<TrialRecord>& trials) {
  std::vector<Series> all;
  for (const auto& trial : trials) {
    std::vector<std::string> settings;
    for (const auto& setting : trial.spec.settings)
      settings.push_back(setting.path.substr(setting.path.rfind('.') + 1) + " " + to_string(setting.value));
    Series series{trial.spec.id, text::join(settings, ", "), trial_color(trial.spec.index), thinned(trial.curve),
                  validations(trial)};
    if (!series.train.empty()) all.push_back(std::move(series));
  }
  return all;
}

/// The part of the plane that is drawn.
struct Frame {
  double low_x = 0, high_x = 1, low_y = 0, high_y = 1;
  double x(double step) const { return kLeft + (step - low_x) / (high_x - low_x) * (kWidth - kLeft - kRight); }
  double y(double loss) const { return kTop + (high_y - loss) / (high_y - low_y) * (kHeight - kTop - kBottom); }
};

Frame frame_of(const std::vector<Series>& all) {
  std::vector<double> losses;
  Frame frame{0, 1, 0, 1};
  for (const auto& series : all)
    for (const auto* points : {&series.train, &series.valid})
      for (const Point& point : *points) {
        losses.push_back(point.loss);
        frame.high_x = std::max(frame.high_x, point.step);
      }
  frame.high_x *= 1.01;  // room for the last circle
  std::sort(losses.begin(), losses.end());
  const double low = losses.front();
  const double high = losses[static_cast<std::size_t>(kHighestShown * static_cast<double>(losses.size() - 1))];
  const double margin = std::max((high - low) * 0.05, 1e-9 * std::max(1.0, std::abs(high)));
  frame.low_y = low - margin;
  frame.high_y = high + margin;
  return frame;
}

std::string grid(const Frame& frame) {
  std::string out;
  char label[32];
  for (const double tick : round_ticks(frame.low_y, frame.high_y, 6)) {
    std::snprintf(label, sizeof label, "%.4g", tick);
    out += text::cat("<line x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"", frame.y(tick), "\" y2=\"",
                     frame.y(tick), "\"/><text x=\"", kLeft - 8, "\" y=\"", frame.y(tick) + 4,
                     "\" text-anchor=\"end\">", label, "</text>\n");
  }
  for (const double tick : round_ticks(frame.low_x, frame.high_x, 8))
    out += text::cat("<text x=\"", frame.x(tick), "\" y=\"", kHeight - kBottom + 18, "\" text-anchor=\"middle\">", tick,
                     "</text>\n");
  out += text::cat("<text x=\"", kWidth - kRight, "\" y=\"", kHeight - 2, "\" text-anchor=\"end\">step</text>\n");
  return out;
}

std::string path_of(const std::vector<Point>& points, const Frame& frame) {
  std::string path;
  for (const Point& point : points)
    path += text::cat(path.empty() ? "M" : "L", text::format_number(frame.x(point.step), 1), " ",
                      text::format_number(frame.y(point.loss), 1));
  return path;
}

std::string line(const Series& series, const Frame& frame) {
  std::string out =
      text::cat("<g data-id=\"", escape_html(series.id), "\" stroke=\"", series.color, "\"><path class=\"raw\" d=\"",
                path_of(series.train, frame), "\"/><path d=\"", path_of(smoothed(series.train), frame), "\"/>");
  for (const Point& point : series.valid)
    out += text::cat("<circle cx=\"", frame.x(point.step), "\" cy=\"", frame.y(point.loss), "\" r=\"3.5\"><title>",
                     escape_html(series.id), ": validation loss ", text::format_number(point.loss, 4),
                     "</title></circle>");
  return out + "</g>\n";
}

/// What the script needs to tell values under the pointer.
std::string data_of(const std::vector<Series>& all, const Frame& frame) {
  Json data = {{"x0", frame.low_x},        {"x1", frame.high_x}, {"left", kLeft},
               {"right", kWidth - kRight}, {"width", kWidth},    {"series", Json::array()}};
  for (const auto& series : all) {
    Json points = Json::array();
    for (const Point& point : series.train)
      points.push_back({std::round(point.step * 10) / 10, std::round(point.loss * 1e4) / 1e4});
    data["series"].push_back({{"id", series.id}, {"label", series.label}, {"color", series.color}, {"points", points}});
  }
  return escape_script(dump_json(data));
}

}  // namespace

std::string curves_section(const std::vector<TrialRecord>& trials) {
  const auto all = series_of(trials);
  if (all.empty()) return "";
  const Frame frame = frame_of(all);
  std::string out =
      "<section id=\"curves\"><h2>Loss curves</h2><p class=\"note\">Training loss by optimizer step, pale, and "
      "smoothed, strong; circles are the validation loss. Click a trial to hide it.</p><div "
      "class=\"legend toggles\">";
  for (const auto& series : all)
    out += text::cat("<button data-id=\"", escape_html(series.id), "\" title=\"", escape_html(series.label), "\">",
                     swatch(series.color, series.id), "</button>");
  out += text::cat("</div><svg class=\"plot\" viewBox=\"0 0 ", kWidth, " ", kHeight,
                   "\" role=\"img\" aria-label=\"Loss curves\">\n"
                   "<clipPath id=\"frame\"><rect x=\"",
                   kLeft, "\" y=\"", kTop, "\" width=\"", kWidth - kLeft - kRight, "\" height=\"",
                   kHeight - kTop - kBottom, "\"/></clipPath>\n<g class=\"grid\">", grid(frame),
                   "</g>\n<g class=\"lines\" clip-path=\"url(#frame)\">\n");
  for (const auto& series : all) out += line(series, frame);
  out += text::cat("</g><line class=\"cross\" y1=\"", kTop, "\" y2=\"", kHeight - kBottom,
                   "\" x1=\"-9\" x2=\"-9\"/></svg>\n"
                   "<script type=\"application/json\" id=\"curve-data\">",
                   data_of(all, frame), "</script></section>\n");
  return out;
}

}  // namespace hopyard
