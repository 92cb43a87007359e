#include "hopper/visit_order.h"

#include <algorithm>
#include <numeric>

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard {

std::uint32_t rotated_partition(std::uint32_t rotation, std::uint32_t epoch, std::uint32_t visit,
                                std::uint32_t partitions) {
  require(visit < partitions, "visit ", visit, " of ", partitions, " partitions");
  return static_cast<std::uint32_t>((std::uint64_t{rotation} + epoch + visit) % partitions);
}

std::uint32_t seed_rotation(std::uint64_t order_seed, std::uint32_t partitions) {
  require(partitions > 0, "a rotation of no partitions");
  return static_cast<std::uint32_t>(derive(order_seed, "visits") % partitions);
}

Rotations::Rotations(std::uint64_t order_seed, std::uint32_t partitions)
    : begin_(seed_rotation(order_seed, partitions)), work_(partitions) {}

std::vector<std::uint32_t> Rotations::add(std::span<const double> work) {
  std::vector<std::uint32_t> longest_first(work.size()), rotations(work.size());
  std::iota(longest_first.begin(), longest_first.end(), 0u);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return work[a] > work[b]; });
  for (const std::uint32_t trial : longest_first) {
    require(work[trial] > 0, "a trial's work is ", work[trial]);
    const auto least = std::min_element(work_.begin(), work_.end());
    *least += work[trial];
    const auto steps = static_cast<std::uint64_t>(least - work_.begin());
    rotations[trial] = static_cast<std::uint32_t>((begin_ + steps) % work_.size());
  }
  return rotations;
}

void Rotations::put(std::uint32_t rotation, double work) {
  require(rotation < work_.size() && work > 0, "rotation ", rotation, " of ", work_.size(), " for work of ", work);
  work_[(rotation + work_.size() - begin_) % work_.size()] += work;
}

}  // namespace hopyard
