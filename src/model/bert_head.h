// BERT's head: how the tokens of a row become one vector, and what makes logits of it.
#pragma once

#include "model/transformer.h"

namespace hopyard {

struct BertHeadConfig : TransformerConfig {
  Pooling pooling = Pooling::cls;
  HeadKind head = HeadKind::pooler;
  std::int64_t outputs = 0;
  double head_dropout = 0;
};

/// [batch, tokens, hidden] → [batch, hidden], over the tokens that count. `mask`: as Batch's, or undefined.
at::Tensor pool(const at::Tensor& x, Pooling pooling, const at::Tensor& mask);

/// HeadKind says what the kinds are; with the first token and the pooler it is BertForSequenceClassification's.
class BertHead : public TransformerLayer {
 public:
  explicit BertHead(const BertHeadConfig& config);
  at::Tensor forward(const at::Tensor& x, const Batch& batch, const Pass& pass) override;

 private:
  BertHeadConfig config_;
  std::size_t dense_ = 0, classify_ = 0;
};

}  // namespace hopyard
