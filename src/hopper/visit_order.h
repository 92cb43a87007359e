// The order in which a trial visits the partitions (model hopper parallelism: Cerebro, Nakandala et al., VLDB 2020,
// §4). Decision 8 says why rotations are as they are.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hopyard {

/// `order: seed`: each epoch visits every partition once, from `rotation` on and round, and begins one further in each
/// epoch. The rotation is part of the trial: it does not follow from workers or load. Requires visit < partitions.
std::uint32_t rotated_partition(std::uint32_t rotation, std::uint32_t epoch, std::uint32_t visit,
                                std::uint32_t partitions);

/// Visits as a journal has them: the partitions of a trial's visits, from the one that has `first` behind it.
struct RecordedVisits {
  std::uint32_t first = 0;
  std::vector<std::uint32_t> partitions;
  bool operator==(const RecordedVisits&) const = default;
};

/// The partitions of a trial's visits, from its first on to the end of an epoch: where they are recorded as recorded,
/// and otherwise as the rotation has them, those that an epoch's record lacks behind it. `own`: what the trial visits
/// in an epoch, ascending. Failure(input) that begins with `where` when the record has a partition twice in an epoch,
/// or another one.
std::vector<std::uint32_t> listed_visits(const RecordedVisits& record, std::uint32_t rotation,
                                         const std::vector<std::uint32_t>& own, const std::string& where);

/// The partition that a trial has after so many visits, of which an epoch has `count`: the listed one, and where there
/// is none that of its rotation. `own`: as above; empty: those below `count`.
std::uint32_t partition_in_order(std::uint32_t rotation, const std::vector<std::uint32_t>* listed, std::uint32_t visits,
                                 std::uint32_t count, const std::vector<std::uint32_t>& own = {});

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
