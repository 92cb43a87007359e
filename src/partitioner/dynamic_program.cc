// The cuts with the least predicted time of a step.
//
// A task's slot depends on its shard and both neighbours (whose store and load it hides), so the table's state is a
// pair of neighbouring shards and a move adds the shard after them: C(n, 3) states, C(n, 4) moves, 11 million for 128
// layers.
#include <algorithm>
#include <limits>

#include "base/failure.h"
#include "partitioner/shard_tasks.h"

namespace hopyard {
namespace {

/// With more layers than this, cuts are sought among this many places only, the greedy ones always among them.
constexpr std::size_t kBoundariesMax = 128;
constexpr double kNever = std::numeric_limits<double>::infinity();

class DynamicProgram {
 public:
  /// `boundaries`: where cuts may be, ascending, with 0 and the number of layers at the ends.
  DynamicProgram(const std::vector<LayerCost>& layers, const DeviceLimits& device,
                 std::vector<std::uint32_t> boundaries)
      : device_(device), boundaries_(std::move(boundaries)), last_(boundaries_.size() - 1) {
    make_candidates(layers);
    rest_.assign(boundaries_.size() * boundaries_.size() * boundaries_.size(), kNever);
    choice_.assign(rest_.size(), 0);
  }

  std::vector<std::uint32_t> best_cuts() {
    for (std::size_t b = last_; b-- > 0;) {
      for (std::size_t c = b + 1; c <= last_; ++c) {
        if (candidate(b, c).fits) fill(b, c);
      }
    }
    return read_cuts();
  }

 private:
  struct Candidate {
    bool fits = false, backward = false;
    ShardTask forward, reverse;  ///< reverse: backward, and for the last shard its only task
  };

  Candidate& candidate(std::size_t b, std::size_t c) { return candidates_[b * boundaries_.size() + c]; }
  std::size_t at(std::size_t a, std::size_t b, std::size_t c) const {
    return (a * boundaries_.size() + b) * boundaries_.size() + c;
  }

  void make_candidates(const std::vector<LayerCost>& layers) {
    candidates_.resize(boundaries_.size() * boundaries_.size());
    for (std::size_t b = 0; b < last_; ++b) {
      for (std::size_t c = b + 1; c <= last_; ++c) {
        const ShardPlan shard = make_shard(layers, boundaries_[b], boundaries_[c], device_);
        candidate(b, c) = {fits(shard_need(shard, device_), device_), shard.backward, forward_task(shard, device_),
                           c == last_ ? last_task(shard, device_) : backward_task(shard, device_)};
      }
    }
  }

  /// rest(a, b, c): the least time of all slots of shard [b, c) and of those after it, when [a, b) stands before it;
  /// a == b == 0 when nothing does.
  void fill(std::size_t b, std::size_t c) {
    const std::vector<double> onward = c < last_ ? onward_costs(b, c) : std::vector<double>();
    for (std::size_t a = 0; a < std::max<std::size_t>(b, 1); ++a) {
      if (b > 0 && !candidate(a, b).fits) continue;
      if (c == last_) {
        rest_[at(a, b, c)] = reverse_cost(a, b, c, nullptr);
      } else {
        choose_end(a, b, c, onward);
      }
    }
  }

  /// For each end d of the shard after [b, c): the forward slot of [b, c) and the rest from there.
  std::vector<double> onward_costs(std::size_t b, std::size_t c) {
    std::vector<double> costs(boundaries_.size(), kNever);
    for (std::size_t d = c + 1; d <= last_; ++d) {
      if (!candidate(c, d).fits) continue;
      const ShardTask& next = d == last_ ? candidate(c, d).reverse : candidate(c, d).forward;
      const ShardTask* previous = b == 0 && stays(c) ? &candidate(b, c).reverse : nullptr;
      costs[d] = slot_cost(previous, candidate(b, c).forward, &next, device_).seconds + rest_[at(b, c, d)];
    }
    return costs;
  }

  /// Larger next shards first, so that of equally fast plans the one with fewer cuts wins.
  void choose_end(std::size_t a, std::size_t b, std::size_t c, const std::vector<double>& onward) {
    double& best = rest_[at(a, b, c)];
    for (std::size_t d = last_; d > c; --d) {
      if (onward[d] >= best) continue;
      const double cost = onward[d] + reverse_cost(a, b, c, &candidate(c, d).reverse);
      if (cost < best) {
        best = cost;
        choice_[at(a, b, c)] = static_cast<std::uint32_t>(d);
      }
    }
  }

  /// The slot of the backward task of [b, c) (or the last shard's only task), and the step's last store if it ends
  /// here.
  double reverse_cost(std::size_t a, std::size_t b, std::size_t c, const ShardTask* previous) {
    const Candidate& now = candidate(b, c);
    if (!now.backward && c < last_) return 0;
    const bool goes_on = b > 0 && candidate(a, b).backward;
    const ShardTask* next = goes_on ? &candidate(a, b).reverse : nullptr;
    const bool stored_later = goes_on || (b == 0 && stays(c));
    return slot_cost(previous, now.reverse, next, device_).seconds + (stored_later ? 0 : now.reverse.store_s);
  }

  /// The first shard ends at boundary c and stays on the device from step to step.
  bool stays(std::size_t c) { return first_shard_stays(candidate(0, c).backward, c < last_ ? 2 : 1, device_); }

  std::vector<std::uint32_t> read_cuts() {
    std::size_t end = 0;
    double best = kNever;
    for (std::size_t c = last_; c > 0; --c) {
      if (!candidate(0, c).fits) continue;
      const ShardTask& first = c == last_ ? candidate(0, c).reverse : candidate(0, c).forward;
      const double cost = (stays(c) ? 0 : first.load_s) + rest_[at(0, 0, c)];
      if (cost < best) best = cost, end = c;
    }
    require(best < kNever, "no cuts although every layer fits by itself");
    std::vector<std::uint32_t> cuts;
    for (std::size_t a = 0, b = 0; end != last_;) {
      cuts.push_back(boundaries_[end]);
      const std::size_t next = choice_[at(a, b, end)];
      a = b, b = end, end = next;
    }
    return cuts;
  }

  const DeviceLimits& device_;
  const std::vector<std::uint32_t> boundaries_;
  const std::size_t last_;
  std::vector<Candidate> candidates_;
  std::vector<double> rest_;
  std::vector<std::uint32_t> choice_;
};

/// All layers, or greedy's cuts and evenly spaced ones in between.
std::vector<std::uint32_t> boundaries_for(std::uint32_t layers, const PartitionPlan& greedy) {
  std::vector<std::uint32_t> boundaries{layers};
  for (const ShardPlan& shard : greedy.shards) boundaries.push_back(shard.begin);
  const std::size_t free = kBoundariesMax > boundaries.size() ? kBoundariesMax - boundaries.size() : 0;
  const std::size_t spaced = std::min<std::size_t>(free, layers);
  for (std::size_t i = 0; i < spaced; ++i) boundaries.push_back(static_cast<std::uint32_t>(i * layers / spaced));
  std::sort(boundaries.begin(), boundaries.end());
  boundaries.erase(std::unique(boundaries.begin(), boundaries.end()), boundaries.end());
  return boundaries;
}

std::vector<std::uint32_t> every_border(std::uint32_t layers) {
  std::vector<std::uint32_t> boundaries(layers + 1);
  for (std::uint32_t i = 0; i <= layers; ++i) boundaries[i] = i;
  return boundaries;
}

}  // namespace

PartitionResult partition_dp(const std::vector<LayerCost>& layers, const DeviceLimits& device) {
  const PartitionResult greedy = partition_greedy(layers, device);
  if (!greedy.plan || greedy.plan->resident) return greedy;
  const auto count = static_cast<std::uint32_t>(layers.size());
  auto boundaries = count <= kBoundariesMax ? every_border(count) : boundaries_for(count, *greedy.plan);
  // So many shards that greedy alone has more than the table holds: what fits is what counts then.
  if (boundaries.size() > kBoundariesMax + 1) return greedy;
  return {evaluate_cuts(layers, DynamicProgram(layers, device, std::move(boundaries)).best_cuts(), device),
          std::nullopt};
}

}  // namespace hopyard
