#include "base/failure.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

std::size_t count_combinations(const std::vector<Dimension>& space) {
  std::size_t count = 1;
  for (const Dimension& dimension : space) {
    if (count > kTrialsMax / dimension.values.size()) {
      fail(ExitCode::usage, "the grid has more than ", kTrialsMax, " combinations; give '", dimension.path,
           "' fewer values or search with method: random");
    }
    count *= dimension.values.size();
  }
  return count;
}

void require_listed_values(const Dimension& dimension) {
  if (dimension.kind == Dimension::Kind::grid || dimension.kind == Dimension::Kind::choice) return;
  fail(ExitCode::usage, "'", dimension.path, "' is a range, which method: grid cannot go through; list its values ",
       "with {grid: […]} or search with method: random");
}

/// A mixed-radix counter whose last digit runs fastest.
class GridSearcher final : public ListSearcher {
 public:
  GridSearcher(std::vector<Dimension> space, std::uint64_t seed)
      : ListSearcher(count_combinations(space), seed), space_(std::move(space)) {}

 private:
  std::vector<Setting> settings_of(std::size_t index) const override {
    std::vector<Setting> settings(space_.size());
    for (std::size_t d = space_.size(); d-- > 0;) {
      const auto& values = space_[d].values;
      settings[d] = {space_[d].path, values[index % values.size()]};
      index /= values.size();
    }
    return settings;
  }

  const std::vector<Dimension> space_;
};

}  // namespace

std::unique_ptr<Searcher> make_grid_searcher(const std::vector<Dimension>& space, std::uint64_t seed) {
  for (const Dimension& dimension : space) require_listed_values(dimension);
  return std::make_unique<GridSearcher>(space, seed);
}

}  // namespace hopyard
