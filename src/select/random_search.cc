#include "base/failure.h"
#include "base/rng.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

class RandomSearcher final : public ListSearcher {
 public:
  RandomSearcher(Space space, std::uint32_t trials, std::uint64_t seed)
      : ListSearcher(trials, seed), key_(derive(seed, "search")), space_(std::move(space)) {}

 private:
  std::vector<Setting> settings_of(std::size_t index) override {
    return space_.settings(space_.draw(derive(key_, index)));
  }

  const std::uint64_t key_;
  const Space space_;
};

}  // namespace

std::unique_ptr<Searcher> make_random_searcher(Space space, const SearchSpec& spec, std::uint64_t seed) {
  require_trials(spec, "random");
  return std::make_unique<RandomSearcher>(std::move(space), spec.trials, seed);
}

}  // namespace hopyard
