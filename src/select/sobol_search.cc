#include "base/failure.h"
#include "base/rng.h"
#include "select/searchers.h"
#include "select/sobol.h"

namespace hopyard {
namespace {

/// Every dimension of the space is one of the sequence, also where it does not exist.
class SobolSearcher final : public ListSearcher {
 public:
  SobolSearcher(Space space, std::uint32_t trials, std::uint64_t seed)
      : ListSearcher(trials, seed), key_(derive(seed, "sobol")), space_(std::move(space)) {}

 private:
  std::vector<Setting> settings_of(std::size_t index) override {
    return space_.settings(space_.choose([&](std::size_t d, const Point&) {
      const std::uint32_t value =
          owen_scrambled(sobol(static_cast<std::uint32_t>(index), d), derive(key_, space_[d].path));
      return value_at_share(space_[d], static_cast<double>(value) * 0x1.0p-32);
    }));
  }

  const std::uint64_t key_;
  const Space space_;
};

}  // namespace

std::unique_ptr<Searcher> make_sobol_searcher(Space space, const SearchSpec& spec, std::uint64_t seed) {
  require_trials(spec, "sobol");
  if (space.size() > kSobolDimensions)
    fail(ExitCode::usage, "search.method: sobol has direction numbers for ", kSobolDimensions, " dimensions and ",
         space.size(), " are searched; search fewer or with method: random");
  return std::make_unique<SobolSearcher>(std::move(space), spec.trials, seed);
}

}  // namespace hopyard
