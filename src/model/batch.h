// What a model computes on.
#pragma once

#include <ATen/core/Tensor.h>

namespace hopyard {

/// Tensors of one micro-batch. Rows are sequences (or feature vectors).
struct Batch {
  at::Tensor inputs;          ///< input_ids int64 [batch, tokens], or features float32 [batch, features]
  at::Tensor attention_mask;  ///< int64 [batch, tokens], 1 = counts; undefined when there is none
  at::Tensor labels;          ///< int64 [batch]; float32 [batch] for regression; undefined for causal-lm
};

}  // namespace hopyard
