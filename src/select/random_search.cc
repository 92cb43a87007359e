#include "base/rng.h"
#include "select/searchers.h"

namespace hopyard {

std::unique_ptr<Searcher> make_random_searcher(Space space, const SearchSpec& spec, std::uint64_t seed) {
  require_trials(spec, "random");
  return std::make_unique<ListSearcher>(spec.trials, seed,
                                        [key = derive(seed, "search"), space = std::move(space)](std::size_t index) {
                                          return space.settings(space.draw(derive(key, index)));
                                        });
}

}  // namespace hopyard
