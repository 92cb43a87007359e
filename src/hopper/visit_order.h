// The order in which a trial visits the partitions (model hopper parallelism: Cerebro, Nakandala et al., VLDB 2020,
// §4).
#pragma once

#include <cstdint>

namespace hopyard {

/// `order: seed`: each epoch visits every partition once, as a rotation that follows from the trial's seed and moves on
/// with the epoch, so that trials spread over the partitions. Requires visit < partitions.
std::uint32_t visited_partition(std::uint64_t trial_seed, std::uint32_t epoch, std::uint32_t visit,
                                std::uint32_t partitions);

}  // namespace hopyard
