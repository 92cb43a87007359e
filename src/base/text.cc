#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace hopyard::text {

namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 9> kByteUnits{{{"B", 1},
                                          {"KB", 1e3},
                                          {"MB", 1e6},
                                          {"GB", 1e9},
                                          {"TB", 1e12},
                                          {"KiB", 0x1p10},
                                          {"MiB", 0x1p20},
                                          {"GiB", 0x1p30},
                                          {"TiB", 0x1p40}}};
constexpr std::array<Unit, 4> kTimeUnits{{{"ms", 1e-3}, {"s", 1}, {"min", 60}, {"h", 3600}}};

template <std::size_t N>
std::optional<double> parse_with_unit(std::string_view text, const std::array<Unit, N>& units) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  std::string_view unit = text.substr(end - text.data());
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  for (const auto& known : units)
    if (known.name == unit) return number * known.factor;
  return std::nullopt;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<Bytes> parse_bytes(std::string_view text) {
  const auto bytes = parse_with_unit(text, kByteUnits);
  if (!bytes || *bytes >= 0x1p63) return std::nullopt;
  return static_cast<Bytes>(std::llround(*bytes));
}

std::optional<double> parse_rate(std::string_view text) {
  if (!text.ends_with("/s")) return std::nullopt;
  return parse_with_unit(text.substr(0, text.size() - 2), kByteUnits);
}

std::optional<double> parse_duration(std::string_view text) { return parse_with_unit(text, kTimeUnits); }

std::string format_number(double value, int decimals) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", decimals, value);
  return buffer;
}

std::string format_bytes(Bytes bytes) {
  static constexpr std::array<const char*, 5> names{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < names.size()) value /= 1024, ++unit;
  const int decimals = value == std::floor(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return format_number(value, decimals) + " " + names[unit];
}

std::string format_seconds(double seconds) {
  if (seconds < 0) return "-" + format_seconds(-seconds);
  if (seconds < 1e-3) return format_number(seconds * 1e6, 0) + " µs";
  if (seconds < 1) return format_number(seconds * 1e3, seconds < 0.1 ? 1 : 0) + " ms";
  if (seconds < 120) return format_number(seconds, seconds < 10 ? 2 : 1) + " s";
  const auto minutes = static_cast<long>(seconds / 60);
  char buffer[64];
  if (minutes < 60)
    std::snprintf(buffer, sizeof buffer, "%ld min %02ld s", minutes, static_cast<long>(seconds) % 60);
  else
    std::snprintf(buffer, sizeof buffer, "%ld h %02ld min", minutes / 60, minutes % 60);
  return buffer;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string all;
  for (std::size_t i = 0; i < parts.size(); ++i) all.append(i ? separator : "").append(parts[i]);
  return all;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const auto at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string nearest(std::string_view word, const std::vector<std::string>& words) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 2) + 1;
  for (const auto& candidate : words) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) best = candidate, best_distance = distance;
  }
  return best;
}

}  // namespace hopyard::text
