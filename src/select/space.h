// Points of a search space; private to this folder.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "base/rng.h"
#include "select/search.h"

namespace hopyard {

/// A dimension's value as a number: of grid, choice and joint the place in the list, of ranges the value itself.
using Coordinate = double;
/// By dimension, in the order of the space; nothing where the dimension does not exist.
using Point = std::vector<std::optional<Coordinate>>;

inline bool is_list(const Dimension& dimension) {
  return dimension.kind != Dimension::Kind::uniform && dimension.kind != Dimension::Kind::loguniform &&
         dimension.kind != Dimension::Kind::integer;
}
/// How many values it can have; 0: infinitely many.
std::uint64_t count_values(const Dimension& dimension);
/// Its value number `index`. Requires a dimension of finitely many.
Coordinate value_at(const Dimension& dimension, std::uint64_t index);
/// The value below which a share `unit` of the dimension lies, 0 ≤ unit < 1.
Coordinate value_at_share(const Dimension& dimension, double unit);
/// Nothing when the value is no number.
std::optional<double> number_of(const SettingValue& value);
/// The nearest value of a range.
Coordinate nearest(const Dimension& range, double value);
/// An independent draw.
Coordinate draw(const Dimension& dimension, KeyedStream& stream);
/// The ends of a loguniform dimension with a step, widened so that its first and last values get their whole share.
std::pair<double, double> widened_ends(const Dimension& dimension);

/// Checked dimensions and how they depend on each other.
class Space {
 public:
  /// Failure(usage) when a dimension is empty or impossible, or two contradict each other.
  explicit Space(std::vector<Dimension> dimensions);

  std::size_t size() const { return dimensions_.size(); }
  const Dimension& operator[](std::size_t d) const { return dimensions_[d]; }
  /// All dimensions, each after the one that its condition reads; else in their order.
  const std::vector<std::size_t>& order() const { return order_; }
  /// The dimension that the condition of this one reads.
  std::optional<std::size_t> provider(std::size_t d) const { return providers_[d]; }
  /// Whether a dimension exists beside those coordinates of the point that come before it in order().
  bool exists(std::size_t d, const Point& point) const;
  /// Asks for the coordinate of each dimension that exists beside those chosen before, in order().
  Point choose(const std::function<Coordinate(std::size_t d, const Point& so_far)>& coordinate) const;
  /// An independent draw of every dimension, keyed by its path: adding one leaves what the others draw as it was.
  Point draw(std::uint64_t key) const;
  std::vector<Setting> settings(const Point& point) const;

 private:
  void refuse_paths_searched_twice() const;
  void find_providers();
  void find_order();

  std::vector<Dimension> dimensions_;
  std::vector<std::optional<std::size_t>> providers_;  // the dimension that a condition reads
  std::vector<std::size_t> order_;
};

/// Draws of a space, numbered from 0, none of which comes twice while there may be another one: what compares a known
/// number of trials goes through a small space wholly.
class DistinctDraws {
 public:
  explicit DistinctDraws(std::uint64_t key) : key_(key) {}
  /// The same whatever was asked for before.
  const Point& at(const Space& space, std::size_t number);

 private:
  const std::uint64_t key_;
  std::vector<Point> points_;
  std::set<Point> seen_;
};

}  // namespace hopyard
