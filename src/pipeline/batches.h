// From rows of a data set to the tensors of micro-batches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "model/layer.h"
#include "model/model.h"

namespace hopyard {

/// Gathers `rows` into micro-batches of at most `micro_batch_size` rows, in order. Tensors are allocated on the calling
/// thread and charged to its account.
std::vector<Batch> make_batches(const Dataset& data, Task task, std::span<const std::uint32_t> rows,
                                std::uint32_t micro_batch_size);

/// What the data say about the model. Checks that the columns that the task needs are there, that the label ids of the
/// first `rows` rows are in range and the token ids within the vocabulary. Failure(input) names the file.
DataShape data_shape(const Dataset& train, Task task);

}  // namespace hopyard
