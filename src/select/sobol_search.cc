#include "base/failure.h"
#include "base/rng.h"
#include "select/searchers.h"
#include "select/sobol.h"

namespace hopyard {
namespace {

/// Every dimension of the space is one of the sequence, also where it does not exist.
std::vector<Setting> scrambled_point(const Space& space, std::uint64_t key, std::size_t index) {
  return space.settings(space.choose([&](std::size_t d, const Point&) {
    const std::uint32_t value = owen_scrambled(sobol(static_cast<std::uint32_t>(index), d), derive(key, space[d].path));
    return value_at_share(space[d], static_cast<double>(value) * 0x1.0p-32);
  }));
}

}  // namespace

std::unique_ptr<Searcher> make_sobol_searcher(Space space, const SearchSpec& spec, std::uint64_t seed) {
  require_trials(spec, "sobol");
  if (space.size() > kSobolDimensions)
    fail(ExitCode::usage, "search.method: sobol has direction numbers for ", kSobolDimensions, " dimensions and ",
         space.size(), " are searched; search fewer or with method: random");
  return std::make_unique<ListSearcher>(spec.trials, seed,
                                        [key = derive(seed, "sobol"), space = std::move(space)](std::size_t index) {
                                          return scrambled_point(space, key, index);
                                        });
}

}  // namespace hopyard
