#include "report/html_parts.h"

#include <array>
#include <cmath>
#include <utility>

#include "base/text.h"

namespace hopyard {

namespace {

constexpr std::array<const char*, 10> kTrialColors{"#4e8fd6", "#f28e2b", "#4aa564", "#e0565b", "#a178c9",
                                                   "#d1a400", "#2fa8a5", "#d9679f", "#9c755f", "#7f8fa6"};
// In no trial's colour, so that a strip of idle time is never taken for work.
constexpr std::array<std::pair<const char*, const char*>, 9> kCauseColors{{{"load", "#ffb454"},
                                                                           {"store", "#7cc7ff"},
                                                                           {"disk", "#c2703d"},
                                                                           {"rounding", "#e8a0bf"},
                                                                           {"commit", "#8d6bd1"},
                                                                           {"memory", "#d6336c"},
                                                                           {"activation", "#38b2ac"},
                                                                           {"update", "#7a9e3f"},
                                                                           {"no work", "#a0a6b0"}}};
constexpr const char* kOtherCauseColor = "#6b7280";

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string escape_script(std::string json) {
  std::string out;
  for (const char c : json) out += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return out;
}

std::string trial_color(std::size_t index) {
  if (index < kTrialColors.size()) return kTrialColors[index];
  constexpr double kGoldenAngle = 137.508;
  return text::cat("hsl(", text::format_number(std::fmod(static_cast<double>(index) * kGoldenAngle, 360.0), 0),
                   " 55% 55%)");
}

std::string cause_color(const std::string& cause) {
  for (const auto& [name, color] : kCauseColors)
    if (cause == name) return color;
  return kOtherCauseColor;
}

std::string swatch(const std::string& color, const std::string& label) {
  return text::cat("<span class=\"swatch\"><i style=\"background:", color, "\"></i>", escape_html(label), "</span>");
}

std::vector<double> round_ticks(double low, double high, std::size_t count) {
  const double rough = (high - low) / static_cast<double>(count);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough * 0.999) {
      step = factor * power;
      break;
    }
  std::vector<double> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i)
    ticks.push_back(i * step + 0.0);  // not −0
  return ticks;
}

}  // namespace hopyard
