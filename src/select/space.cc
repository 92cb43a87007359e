#include "select/space.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/failure.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;

/// Beyond this a double no longer counts by ones.
constexpr double kIntegerMax = 9007199254740992.0;

bool is_whole(double value) { return std::floor(value) == value && std::abs(value) <= kIntegerMax; }

void check_step(const Dimension& range) {
  if (range.step == 0) return;
  if (!std::isfinite(range.step) || range.step < 0 || range.step > range.high - range.low) {
    fail(ExitCode::usage, "'", range.path, "' goes from ", range.low, " to ", range.high, " in steps of ", range.step,
         "; a step must be above 0 and fit between the ends");
  }
  if (range.kind == Kind::integer && !is_whole(range.step)) {
    fail(ExitCode::usage, "'", range.path, "' is an int in steps of ", range.step, "; the step must be a whole number");
  }
  if ((range.high - range.low) / range.step > kIntegerMax) {
    fail(ExitCode::usage, "'", range.path, "' goes from ", range.low, " to ", range.high, " in steps of ", range.step,
         ", which are too many to count; leave out the step");
  }
}

void check_range(const Dimension& range) {
  const auto& path = range.path;
  const double low = range.low, high = range.high;
  if (!std::isfinite(low) || !std::isfinite(high) || !std::isfinite(high - low) || low > high) {
    fail(ExitCode::usage, "'", path, "' goes from ", low, " to ", high, "; give the lower end first");
  }
  if (range.kind == Kind::loguniform && low <= 0) {
    fail(ExitCode::usage, "'", path, "' is loguniform from ", low, "; its ends must be above 0");
  }
  if (range.kind == Kind::integer && !(is_whole(low) && is_whole(high))) {
    fail(ExitCode::usage, "'", path, "' is an int from ", low, " to ", high, "; its ends must be whole numbers");
  }
  check_step(range);
}

void check_joint(const Dimension& joint) {
  for (const auto& settings : joint.joint) {
    if (settings.empty()) fail(ExitCode::usage, "'", joint.path, "' has an empty entry; each must set something");
    std::set<std::string> seen;
    for (const Setting& setting : settings) {
      if (!seen.insert(setting.path).second)
        fail(ExitCode::usage, "'", joint.path, "' sets '", setting.path, "' twice in one entry; keep one");
    }
  }
}

void check_dimension(const Dimension& dimension) {
  if (!is_list(dimension)) return check_range(dimension);
  if (count_values(dimension) == 0)
    fail(ExitCode::usage, "'", dimension.path, "' has no values to search; list at least one");
  check_joint(dimension);
}

/// The paths that a dimension sets, without repetition.
std::set<std::string> paths_of(const Dimension& dimension) {
  if (dimension.kind != Kind::joint) return {dimension.path};
  std::set<std::string> paths;
  for (const auto& settings : dimension.joint)
    for (const Setting& setting : settings) paths.insert(setting.path);
  return paths;
}

void append_settings(const Dimension& dimension, Coordinate coordinate, std::vector<Setting>& settings) {
  const auto index = static_cast<std::size_t>(coordinate);
  if (dimension.kind == Kind::joint) {
    const auto& chosen = dimension.joint.at(index);
    settings.insert(settings.end(), chosen.begin(), chosen.end());
  } else if (is_list(dimension)) {
    settings.push_back({dimension.path, dimension.values.at(index)});
  } else if (dimension.kind == Kind::integer) {
    settings.push_back({dimension.path, static_cast<std::int64_t>(coordinate)});
  } else {
    settings.push_back({dimension.path, coordinate});
  }
}

bool fulfils(const Condition& condition, const Dimension& provider, Coordinate coordinate) {
  std::vector<Setting> settings;
  append_settings(provider, coordinate, settings);
  return std::any_of(settings.begin(), settings.end(), [&](const Setting& setting) {
    return setting.path == condition.path &&
           std::find(condition.values.begin(), condition.values.end(), setting.value) != condition.values.end();
  });
}

/// A range is not searched for the value: what it can have is known by its ends.
bool can_fulfil(const Condition& condition, const Dimension& provider) {
  if (is_list(provider)) {
    for (std::uint64_t i = 0; i < count_values(provider); ++i)
      if (fulfils(condition, provider, static_cast<Coordinate>(i))) return true;
    return false;
  }
  return std::any_of(condition.values.begin(), condition.values.end(), [&](const SettingValue& value) {
    const auto wanted = number_of(value);
    const bool whole = std::holds_alternative<std::int64_t>(value);
    return wanted && (provider.kind == Kind::integer) == whole && nearest(provider, *wanted) == *wanted;
  });
}

std::string words(const std::vector<SettingValue>& values) {
  std::vector<std::string> written;
  for (const auto& value : values) written.push_back(to_string(value));
  return text::join(written, " or ");
}

}  // namespace

std::optional<double> number_of(const SettingValue& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return static_cast<double>(*whole);
  if (const auto* real = std::get_if<double>(&value)) return *real;
  return std::nullopt;
}

Space::Space(std::vector<Dimension> dimensions) : dimensions_(std::move(dimensions)) {
  for (Dimension& dimension : dimensions_) {
    check_dimension(dimension);
    if (is_list(dimension) || dimension.step == 0) continue;
    dimension.high = value_at(dimension, count_values(dimension) - 1);  // a step need not divide the range
  }
  refuse_paths_searched_twice();
  find_providers();
  find_order();
}

void Space::refuse_paths_searched_twice() const {
  std::set<std::string> names, paths;
  for (const Dimension& dimension : dimensions_) {
    if (!names.insert(dimension.path).second)
      fail(ExitCode::usage, "'", dimension.path, "' is searched twice; keep one");
    for (const auto& path : paths_of(dimension))
      if (!paths.insert(path).second) fail(ExitCode::usage, "'", path, "' is searched twice; keep one");
  }
}

void Space::find_providers() {
  std::map<std::string, std::size_t> by_path;
  for (std::size_t d = 0; d < size(); ++d)
    for (const auto& path : paths_of(dimensions_[d])) by_path[path] = d;
  providers_.resize(size());
  for (std::size_t d = 0; d < size(); ++d) {
    const auto& condition = dimensions_[d].when;
    if (!condition) continue;
    const auto found = by_path.find(condition->path);
    if (found == by_path.end())
      fail(ExitCode::usage, "'", dimensions_[d].path, "' exists only under '", condition->path,
           "', which is not searched; search it too or leave out the condition");
    if (!can_fulfil(*condition, dimensions_[found->second]))
      fail(ExitCode::usage, "'", dimensions_[d].path, "' exists only where '", condition->path, "' is ",
           words(condition->values), ", which it never is");
    providers_[d] = found->second;
  }
}

void Space::find_order() {
  std::vector<bool> placed(size());
  while (order_.size() < size()) {
    const std::size_t before = order_.size();
    for (std::size_t d = 0; d < size(); ++d) {
      if (placed[d] || (providers_[d] && !placed[*providers_[d]])) continue;
      placed[d] = true;
      order_.push_back(d);
    }
    if (order_.size() > before) continue;
    const auto d = static_cast<std::size_t>(std::find(placed.begin(), placed.end(), false) - placed.begin());
    fail(ExitCode::usage, "'", dimensions_[d].path, "' exists only under '", dimensions_[d].when->path,
         "', which in the end exists only under it; break the circle");
  }
}

bool Space::exists(std::size_t d, const Point& point) const {
  if (!providers_[d]) return true;
  const auto& coordinate = point[*providers_[d]];
  return coordinate && fulfils(*dimensions_[d].when, dimensions_[*providers_[d]], *coordinate);
}

Point Space::choose(const std::function<Coordinate(std::size_t, const Point&)>& coordinate) const {
  Point point(size());
  for (const std::size_t d : order_)
    if (exists(d, point)) point[d] = coordinate(d, point);
  return point;
}

Point Space::draw(std::uint64_t key) const {
  return choose([&](std::size_t d, const Point&) {
    KeyedStream stream(derive(key, dimensions_[d].path));
    return hopyard::draw(dimensions_[d], stream);
  });
}

std::vector<Setting> Space::settings(const Point& point) const {
  std::vector<Setting> settings;
  for (std::size_t d = 0; d < size(); ++d)
    if (point[d]) append_settings(dimensions_[d], *point[d], settings);
  return settings;
}

const Point& DistinctDraws::at(const Space& space, std::size_t number) {
  constexpr std::uint64_t kTriesMax = 1000;  // all combinations are taken, or as good as all
  while (points_.size() <= number) {
    const std::uint64_t key = derive(key_, points_.size());
    Point point = space.draw(key);
    for (std::uint64_t i = 0; i < kTriesMax && seen_.contains(point); ++i) point = space.draw(derive(key, i));
    seen_.insert(point);
    points_.push_back(std::move(point));
  }
  return points_[number];
}

}  // namespace hopyard
