#include "select/search.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <numeric>
#include <sstream>

#include "base/failure.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

/// Beyond this a double no longer counts by ones.
constexpr double kIntegerMax = 9007199254740992.0;

/// "t07": as many digits as the last trial needs, at least two, so that ids sort like their numbers.
std::string trial_id(std::size_t index, std::size_t count) {
  const auto digits = std::max<std::size_t>(2, std::to_string(count - 1).size());
  std::ostringstream id;
  id << 't' << std::setw(static_cast<int>(digits)) << std::setfill('0') << index;
  return id.str();
}

bool is_whole(double value) { return std::floor(value) == value && std::abs(value) <= kIntegerMax; }

void check_range(const Dimension& dimension) {
  const auto& [path, kind, values, low, high] = dimension;
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
    fail(ExitCode::usage, "'", path, "' goes from ", low, " to ", high, "; give the lower end first");
  }
  if (kind == Dimension::Kind::loguniform && low <= 0) {
    fail(ExitCode::usage, "'", path, "' is loguniform from ", low, "; its ends must be above 0");
  }
  if (kind == Dimension::Kind::integer && !(is_whole(low) && is_whole(high))) {
    fail(ExitCode::usage, "'", path, "' is an int from ", low, " to ", high, "; its ends must be whole numbers");
  }
}

void check_dimension(const Dimension& dimension) {
  if (dimension.kind != Dimension::Kind::grid && dimension.kind != Dimension::Kind::choice) {
    check_range(dimension);
  } else if (dimension.values.empty()) {
    fail(ExitCode::usage, "'", dimension.path, "' has no values to search; list at least one");
  }
}

}  // namespace

std::optional<TrialSpec> ListSearcher::ask() {
  if (finished()) return std::nullopt;
  TrialSpec trial;
  trial.id = trial_id(asked_, count_);
  trial.index = static_cast<std::uint32_t>(asked_);
  trial.settings = settings_of(asked_);
  trial.seed = trial_seed(seed_, trial.settings);
  ++asked_;
  return trial;
}

std::unique_ptr<Searcher> make_searcher(const SearchSpec& spec, const std::vector<Dimension>& space,
                                        std::uint64_t seed) {
  for (const Dimension& dimension : space) check_dimension(dimension);
  if (spec.method == SearchSpec::Method::grid) return make_grid_searcher(space, seed);
  return make_random_searcher(space, spec.trials, seed);
}

std::vector<std::size_t> rank(const std::vector<std::optional<double>>& metrics, bool maximize) {
  // A metric that is not a number is no score either.
  const auto scored = [&](std::size_t i) { return metrics[i] && !std::isnan(*metrics[i]); };
  std::vector<std::size_t> order(metrics.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (!scored(a) || !scored(b)) return scored(a) && !scored(b);
    return maximize ? *metrics[a] > *metrics[b] : *metrics[a] < *metrics[b];
  });
  return order;
}

}  // namespace hopyard
