// Measuring what layers cost by running each kind once, before a plan is accepted.
#pragma once

#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "partitioner/partitioner.h"
#include "pipeline/compute_thread.h"
#include "pipeline/train_spec.h"

namespace hopyard {

/// Runs one micro-batch of the first rows of `data` through each layer on a thread and device of its own: times (the
/// median of a few runs) and bytes as the device's account has them. So many do so `together`, at the same time, as
/// devices will compute: cores that share memory and caches are slower then; times are their mean.
/// Layers of one kind, shape, trainability and end (first, last) of the model are run once. Blocks. A layer at a time
/// is in memory for each of them, and one boundary for each that was run, outside of any budget.
std::vector<LayerCost> profile_layers(const ModelSource& source, const Dataset& data, const TrainSpec& train,
                                      const DeviceMaker& maker, std::uint32_t together = 1);

/// Sizes without running: what must be known to refuse a plan at once. Times and workspace are zero.
std::vector<LayerCost> layer_sizes(const ModelSource& source, const TrainSpec& train);

}  // namespace hopyard
