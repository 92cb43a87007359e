#include "model/bert_head.h"

#include <ATen/Functions.h>

namespace hopyard {

at::Tensor pool(const at::Tensor& x, Pooling pooling, const at::Tensor& mask) {
  if (pooling == Pooling::cls) return x.select(1, 0);
  if (pooling == Pooling::mean) {
    if (!mask.defined()) return x.mean(1);
    const at::Tensor counts = mask.to(at::kFloat).unsqueeze(2);  // bfloat16 counts to 256 only
    return ((x * counts).sum(1) / counts.sum(1).clamp_min(1)).to(x.scalar_type());
  }
  if (!mask.defined()) return x.amax(1);
  return x.masked_fill(mask.eq(0).unsqueeze(2), lowest_of(x.options())).amax(1);
}

BertHead::BertHead(const BertHeadConfig& config) : TransformerLayer(config, "head", "bert.head"), config_(config) {
  description_.output_bytes_per_row = config.outputs * sizeof(float);
  const double hidden = static_cast<double>(config.hidden), outputs = static_cast<double>(config.outputs);
  const bool has_dense = config.head != HeadKind::linear;
  description_.forward_flops_per_row = 2 * hidden * (outputs + (has_dense ? hidden : 0));
  const bool is_mlp = config.head == HeadKind::mlp;
  if (has_dense)
    dense_ = weight_and_bias(is_mlp ? "classifier.dense" : "bert.pooler.dense", {config.hidden, config.hidden},
                             config.hidden, config.deviation, Role::head);
  classify_ = weight_and_bias(is_mlp ? "classifier.out_proj" : "classifier", {config.outputs, config.hidden},
                              config.outputs, config.deviation, Role::head);
}

at::Tensor BertHead::forward(const at::Tensor& x, const Batch& batch, const Pass& pass) {
  at::Tensor pooled = pool(x, config_.pooling, batch.attention_mask);
  if (config_.head == HeadKind::mlp) pooled = dropout(pooled, config_.head_dropout, pass, 1);
  if (config_.head != HeadKind::linear) pooled = at::tanh(at::linear(pooled, parameter(dense_), parameter(dense_ + 1)));
  return at::linear(dropout(pooled, config_.head_dropout, pass, 0), parameter(classify_), parameter(classify_ + 1));
}

}  // namespace hopyard
