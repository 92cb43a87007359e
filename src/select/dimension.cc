// The values of one dimension.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/failure.h"
#include "select/space.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;

/// Sums of steps miss decimal values by a bit: 3 · 0.1 would print as 0.30000000000000004.
double tidy(double value) {
  constexpr int kDigits = 15;
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general, kDigits).ptr;
  std::from_chars(buffer, end, value);
  return value;
}

double step_of(const Dimension& range) { return range.kind == Kind::integer ? std::max(1.0, range.step) : range.step; }

double place(const Dimension& range, double unit) {
  if (range.kind == Kind::uniform) return range.low + (range.high - range.low) * unit;
  const auto [low, high] = widened_ends(range);
  const double log_low = std::log(low), log_high = std::log(high);
  return std::exp(log_low + (log_high - log_low) * unit);
}

}  // namespace

std::pair<double, double> widened_ends(const Dimension& dimension) {
  const double half = step_of(dimension) / 2;
  return {std::max(dimension.low - half, dimension.low / 2), dimension.high + half};
}

std::uint64_t count_values(const Dimension& dimension) {
  if (dimension.kind == Kind::joint) return dimension.joint.size();
  if (is_list(dimension)) return dimension.values.size();
  const double step = step_of(dimension);
  if (step == 0) return 0;
  constexpr double kRounding = 1e-9;  // of a step: 0.1 fits 0.3 three times
  return static_cast<std::uint64_t>((dimension.high - dimension.low) / step + kRounding) + 1;
}

Coordinate value_at(const Dimension& dimension, std::uint64_t index) {
  require(index < count_values(dimension), "'", dimension.path, "' has no value number ", index);
  const auto number = static_cast<double>(index);
  if (is_list(dimension)) return number;
  const double value = dimension.low + number * step_of(dimension);
  return dimension.kind == Kind::integer ? value : tidy(value);
}

Coordinate nearest(const Dimension& range, double value) {
  const double step = step_of(range);
  value = std::clamp(value, range.low, range.high);
  if (step == 0) return value;
  const auto last = static_cast<double>(count_values(range) - 1);
  return value_at(range, static_cast<std::uint64_t>(std::min(last, std::round((value - range.low) / step))));
}

Coordinate value_at_share(const Dimension& dimension, double unit) {
  const std::uint64_t count = count_values(dimension);
  if (count == 0 || dimension.kind == Kind::loguniform) return nearest(dimension, place(dimension, unit));
  const auto index = static_cast<std::uint64_t>(unit * static_cast<double>(count));
  return value_at(dimension, std::min(index, count - 1));
}

Coordinate draw(const Dimension& dimension, KeyedStream& stream) {
  const std::uint64_t count = count_values(dimension);
  if (count == 0 || dimension.kind == Kind::loguniform) return nearest(dimension, place(dimension, stream.uniform()));
  return value_at(dimension, stream.below(count));
}

}  // namespace hopyard
