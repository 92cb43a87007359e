// Whether what layers give for a row depends on the rows beside it. Materialised rows are computed in other company
// than the one in which training would have computed them, and kernels choose their way by the shape of a batch.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "pipeline/compute_thread.h"
#include "pipeline/train_spec.h"

namespace hopyard {

/// Runs the layers [0, end_layer), frozen, over the data's first rows: one micro-batch in order, the same backwards,
/// and its beginning in batches of each of `sizes`, each in this precision. True when every row comes out with the same
/// bits each time. Which way a kernel goes follows from shapes, threads and processor, not from values, so a few rows
/// speak for all. Blocks; computes on a thread and device of its own, a layer at a time in memory, outside of any
/// budget.
bool rows_are_independent(const ModelSource& source, const Dataset& data, std::uint32_t end_layer,
                          std::uint32_t micro_batch_size, const std::vector<std::uint32_t>& sizes, Precision precision,
                          const DeviceMaker& maker);

/// The sizes below a whole micro-batch's that occur when `rows` rows are cut into batches, and those into
/// micro-batches.
std::vector<std::uint32_t> partial_sizes(std::uint64_t rows, std::uint32_t batch_size, std::uint32_t micro_batch_size);

}  // namespace hopyard
