// What the layers of transformers are made of. Tokens are rows here: [batch · tokens, hidden], so that products are
// single calls and results are no views, which would make autograd copy when they are changed in place.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "model/layer.h"

namespace hopyard {

enum class Activation { gelu, gelu_tanh, relu, silu, tanh };
/// By transformers' name; Failure(input) lists the known ones and names `where`.
Activation parse_activation(const std::string& name, const std::string& where);
at::Tensor activate(const at::Tensor& x, Activation activation);

/// The lowest number of a type, float32, bfloat16 or float16: what takes a value out of a softmax or a maximum.
double lowest_of(const at::TensorOptions& options);

/// residual + dropout(fresh). Changes `fresh` in place: it must be the result of a product that nobody else uses.
at::Tensor add_dropped(at::Tensor fresh, const at::Tensor& residual, double p, const Pass& pass, std::uint32_t draw);

struct AttentionShape {
  std::int64_t batch = 0, tokens = 0, heads = 0;
};
struct AttentionSpec {
  double scale = 1;
  double dropout = 0;
  bool causal = false;
};
/// Multi-head attention without its projections (Vaswani et al., NeurIPS 2017, 3.2). query, key, value: [batch ·
/// tokens, heads · width], possibly columns of one tensor; returns the same. `mask`: as Batch's, or undefined. Dropout
/// of the probabilities is drawn from `pass`; without it the fused kernel runs.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionShape& shape, const AttentionSpec& spec, const at::Tensor& mask, const Pass& pass,
                     std::uint32_t draw);

/// Of the two products of attention, for one row.
double attention_flops(std::int64_t tokens, std::int64_t hidden);

}  // namespace hopyard
