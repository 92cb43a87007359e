// The order in which a trial visits the partitions (model hopper parallelism: Cerebro, Nakandala et al., VLDB 2020,
// §4). Decision 8 says why rotations are as they are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hopyard {

/// `order: seed`: each epoch visits every partition once, from `rotation` on and round, and begins one further in each
/// epoch. The rotation is part of the trial: it does not follow from workers or load. Requires visit < partitions.
std::uint32_t rotated_partition(std::uint32_t rotation, std::uint32_t epoch, std::uint32_t visit,
                                std::uint32_t partitions);

/// The rotation that follows from the seed of the data's order alone. Trials that have it visit in the same order, so
/// that what one computes for a visit serves the others: where every worker has all data.
std::uint32_t seed_rotation(std::uint64_t order_seed, std::uint32_t partitions);

/// Rotations that keep trials out of each other's way: for data that were cut by `hopyard partition`, of which each
/// worker has a part. Trials that take an equal rotation form a group that goes round together, and groups stay apart
/// when they have equal work. What it gives follows from the seed and from the trials so far, never from workers.
class Rotations {
 public:
  Rotations(std::uint64_t order_seed, std::uint32_t partitions);
  /// For trials that are asked for at a time, `work` of a visit of each, above 0, in a unit that config and specs alone
  /// decide (FLOPs, or 1 for each). The one with the most work first, each takes the rotation with the least so far,
  /// from the seed's on among equals.
  std::vector<std::uint32_t> add(std::span<const double> work);
  /// A trial that has its rotation already, from a record. Sums of whole numbers come out the same in any order.
  void put(std::uint32_t rotation, double work);

 private:
  std::uint32_t begin_;
  std::vector<double> work_;  // by rotation, counted from begin_
};

}  // namespace hopyard
