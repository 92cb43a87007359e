// Judges a model on micro-batches.
#pragma once

#include <cstdint>
#include <vector>

#include "model/judged.h"
#include "model/model.h"

namespace hopyard {

/// Losses and metrics of rows, in float32 whatever the logits' type. On a card add() only asks; read() waits. Losses
/// are those of ModelSource::loss(), to rounding. `source` outlives it. Not thread-safe.
class Judge {
 public:
  explicit Judge(const ModelSource& source) : source_(source) {}
  /// Of one micro-batch; batch and logits on one device.
  void add(const at::Tensor& logits, const Batch& batch);
  /// Of all rows that were added, in that order.
  Judged read() const;

 private:
  const ModelSource& source_;
  std::int64_t items_ = 0, width_ = 0;
  std::int64_t counted_ = 1;  // items of a row
  std::vector<at::Tensor> losses_, correct_, predicted_, values_, labels_;
};

}  // namespace hopyard
