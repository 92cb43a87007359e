#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "base/rng.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

SettingValue draw(const Dimension& dimension, KeyedStream& stream) {
  switch (dimension.kind) {
    case Dimension::Kind::grid:
    case Dimension::Kind::choice:
      return dimension.values[stream.below(dimension.values.size())];
    case Dimension::Kind::uniform:
      return dimension.low + (dimension.high - dimension.low) * stream.uniform();
    case Dimension::Kind::loguniform: {
      const double log_low = std::log(dimension.low), log_high = std::log(dimension.high);
      // exp(log(x)) may miss x by a bit.
      return std::clamp(std::exp(log_low + (log_high - log_low) * stream.uniform()), dimension.low, dimension.high);
    }
    case Dimension::Kind::integer: {
      const auto low = static_cast<std::int64_t>(dimension.low), high = static_cast<std::int64_t>(dimension.high);
      return low + static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(high - low) + 1));
    }
  }
  require(false, "no such dimension: ", dimension.path);
  return false;
}

/// Keyed by index and path: adding a dimension leaves what the others draw as it was.
class RandomSearcher final : public ListSearcher {
 public:
  RandomSearcher(std::vector<Dimension> space, std::uint32_t trials, std::uint64_t seed)
      : ListSearcher(trials, seed), key_(derive(seed, "search")), space_(std::move(space)) {}

 private:
  std::vector<Setting> settings_of(std::size_t index) const override {
    std::vector<Setting> settings;
    for (const Dimension& dimension : space_) {
      KeyedStream stream(derive(derive(key_, index), dimension.path));
      settings.push_back({dimension.path, draw(dimension, stream)});
    }
    return settings;
  }

  const std::uint64_t key_;
  const std::vector<Dimension> space_;
};

}  // namespace

std::unique_ptr<Searcher> make_random_searcher(const std::vector<Dimension>& space, std::uint32_t trials,
                                               std::uint64_t seed) {
  if (trials == 0) fail(ExitCode::usage, "search.method: random needs search.trials, how many trials to draw");
  if (trials > kTrialsMax)
    fail(ExitCode::usage, "search.trials is ", trials, "; at most ", kTrialsMax, " are possible");
  return std::make_unique<RandomSearcher>(space, trials, seed);
}

}  // namespace hopyard
