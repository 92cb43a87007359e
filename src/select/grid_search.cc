#include "base/failure.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

void require_finite(const Dimension& dimension) {
  if (count_values(dimension) > 0 && (is_list(dimension) || dimension.step > 0)) return;
  fail(ExitCode::usage, "'", dimension.path, "' is a range, which method: grid cannot go through; list its values ",
       "with {grid: […]}, give it a step or search with method: random");
}

/// All points of a finite space, one after another: an odometer whose last wheel runs fastest, and which leaves out
/// wheels that do not exist beside the others.
class Odometer {
 public:
  explicit Odometer(Space space) : space_(std::move(space)), wheels_(space_.size()), point_(space_.size()) { fill(0); }

  std::vector<Setting> settings() const { return space_.settings(point_); }
  /// False when there is no further point.
  bool advance() {
    const auto& order = space_.order();
    for (std::size_t place = order.size(); place-- > 0;) {
      const std::size_t d = order[place];
      if (!point_[d] || ++wheels_[d] == count_values(space_[d])) continue;
      point_[d] = value_at(space_[d], wheels_[d]);
      fill(place + 1);
      return true;
    }
    return false;
  }

 private:
  void fill(std::size_t from_place) {
    const auto& order = space_.order();
    for (std::size_t place = from_place; place < order.size(); ++place) point_[order[place]].reset();
    for (std::size_t place = from_place; place < order.size(); ++place) {
      const std::size_t d = order[place];
      wheels_[d] = 0;
      if (space_.exists(d, point_)) point_[d] = value_at(space_[d], 0);
    }
  }

  Space space_;
  std::vector<std::uint64_t> wheels_;  // by dimension
  Point point_;
};

std::size_t count_points(const Space& space) {
  Odometer odometer(space);
  std::size_t count = 1;
  while (odometer.advance()) {
    if (++count > kTrialsMax)
      fail(ExitCode::usage, "the grid has more than ", kTrialsMax, " combinations; give '",
           space[space.order().front()].path, "' fewer values or search with method: random");
  }
  return count;
}

}  // namespace

std::unique_ptr<Searcher> make_grid_searcher(Space space, std::uint64_t seed) {
  for (std::size_t d = 0; d < space.size(); ++d) require_finite(space[d]);
  const std::size_t count = count_points(space);
  return std::make_unique<ListSearcher>(count, seed,
                                        [odometer = Odometer(std::move(space))](std::size_t index) mutable {
                                          if (index > 0) odometer.advance();
                                          return odometer.settings();
                                        });
}

}  // namespace hopyard
