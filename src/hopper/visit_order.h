// The order in which a trial visits the partitions (model hopper parallelism: Cerebro, Nakandala et al., VLDB 2020,
// §4).
#pragma once

#include <cstdint>

namespace hopyard {

/// `order: seed`: each epoch visits every partition once, as a rotation that follows from the seed of the data's order
/// and moves on with the epoch. Trials of one seed visit in the same order, so that what one computes for a visit
/// serves the others. Requires visit < partitions.
std::uint32_t visited_partition(std::uint64_t order_seed, std::uint32_t epoch, std::uint32_t visit,
                                std::uint32_t partitions);

}  // namespace hopyard
