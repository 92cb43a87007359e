#include "select/search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/failure.h"
#include "select/searchers.h"

namespace hopyard {

void require_trials(const SearchSpec& spec, const char* method) {
  if (spec.trials == 0) fail(ExitCode::usage, "search.method: ", method, " needs search.trials, how many trials");
  if (spec.trials > kTrialsMax)
    fail(ExitCode::usage, "search.trials is ", spec.trials, "; at most ", kTrialsMax, " are possible");
}

namespace {

std::unique_ptr<Searcher> make_method(const SearchSpec& spec, Space space, std::uint64_t seed) {
  using Method = SearchSpec::Method;
  switch (spec.method) {
    case Method::grid:
      return make_grid_searcher(std::move(space), seed);
    case Method::random:
      return make_random_searcher(std::move(space), spec, seed);
    case Method::sobol:
      return make_sobol_searcher(std::move(space), spec, seed);
    case Method::tpe:
      return make_tpe_searcher(std::move(space), spec, seed);
    case Method::successive_halving:
      return make_successive_halving(std::move(space), spec, seed);
    case Method::asha:
      return make_asha(std::move(space), spec, seed);
    case Method::hyperband:
      return make_hyperband(std::move(space), spec, seed);
    case Method::pbt:
      return make_pbt(std::move(space), spec, seed);
    case Method::external:
      return make_external(std::move(space), spec, seed);
  }
  require(false, "no such search method: ", static_cast<int>(spec.method));
  return nullptr;
}

}  // namespace

std::unique_ptr<Searcher> make_searcher(const SearchSpec& spec, const std::vector<Dimension>& space,
                                        std::uint64_t seed) {
  const std::uint64_t runs = std::uint64_t{spec.seeds} * std::max(1u, spec.resamples);
  if (runs > kReplicatesMax)
    fail(ExitCode::usage, "search.seeds × search.resamples is ", runs, "; a group has at most ", kReplicatesMax,
         " members");
  if (runs * std::max<std::size_t>(1, spec.row_groups.size()) > kReplicatesMax)
    fail(ExitCode::usage, "data.group_by: ", spec.row_groups.size(), " groups of rows and ", runs,
         " seeds and resamples of each make more than ", kReplicatesMax, " trials of a configuration; ask for fewer");
  auto searcher = make_method(spec, Space(space), seed);
  if (members_of_group(spec) > 1 || spec.resamples > 0 || !spec.row_groups.empty())
    searcher = make_grouped(std::move(searcher), spec);
  if (!spec.deterministic || !searcher->reacts()) return searcher;
  const std::uint32_t workers = spec.max_concurrent_trials > 0 ? spec.max_concurrent_trials : kCanonicalConcurrency;
  return make_canonical(std::move(searcher), workers);
}

bool trains_piecewise(SearchSpec::Method method) {
  using Method = SearchSpec::Method;
  return method == Method::pbt || method == Method::asha || method == Method::successive_halving ||
         method == Method::hyperband;
}

bool reacts_to_scores(SearchSpec::Method method) {
  using Method = SearchSpec::Method;
  return method == Method::tpe || method == Method::external || trains_piecewise(method);
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
