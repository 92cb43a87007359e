// From rows of a data set to the tensors of micro-batches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "device/device.h"
#include "model/batch.h"
#include "model/model.h"

namespace hopyard {

/// Gathers `rows` into micro-batches of at most `micro_batch_size` rows, in order. Tensors are allocated on the calling
/// thread and charged to its account.
std::vector<Batch> make_batches(const Dataset& data, ModelTask task, std::span<const std::uint32_t> rows,
                                std::uint32_t micro_batch_size);

/// What tasks read of a batch.
struct BatchParts {
  bool inputs = true, attention_mask = true, labels = true;
};

/// To where they are computed on, each part of all of them in one piece: on a card's way in it waits behind whatever is
/// being loaded. Features come one by one, since products' bits may depend on how their factors are aligned, and must
/// not on a micro-batch's place. Parts that are not named stay where they are.
void bring_batches(Device& device, std::span<Batch> batches, const BatchParts& parts = {});

/// What the data say about the model, from dataset.json alone: no row is read. Failure(input) names the file unless
/// there is one of the columns 'input_ids' and 'features', with one axis beside the rows, an 'attention_mask' beside
/// 'input_ids' has their shape, and 'labels', where the task needs them, hold one value a row (shape []).
DataShape data_shape(const Dataset& data, ModelTask task);

}  // namespace hopyard
