#include "model/blocks.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <limits>
#include <map>
#include <vector>

#include "base/failure.h"

namespace hopyard {
namespace {

/// What is added to a score that does not count. −inf would make a fully masked row NaN, and so would float16's lowest
/// number with a score of less than −16 beside it.
double masked_score(const at::TensorOptions& options) {
  const double lowest = lowest_of(options);
  return at::typeMetaToScalarType(options.dtype()) == at::kHalf ? lowest / 2 : lowest;
}

/// Added to scores, broadcast over heads and queries: 0 where a key counts. Undefined when nothing is masked.
at::Tensor padding_scores(const at::Tensor& mask, const at::TensorOptions& options) {
  if (!mask.defined()) return {};
  return at::sub(mask.to(options), 1).mul_(-masked_score(options)).view({mask.size(0), 1, 1, mask.size(1)});
}

/// Of the type and where `options` say.
at::Tensor score_mask(const at::Tensor& mask, const AttentionShape& shape, bool causal,
                      const at::TensorOptions& options) {
  const at::NoGradGuard no_grad;
  const at::Tensor padding = padding_scores(mask, options);
  if (!causal) return padding;
  const at::Tensor future = at::full({shape.tokens, shape.tokens}, masked_score(options), options).triu_(1);
  return padding.defined() ? at::minimum(padding, future) : future;
}

/// [batch · tokens, heads · width] → [batch, heads, tokens, width], a view.
at::Tensor split_heads(const at::Tensor& x, const AttentionShape& shape) {
  return x.view({shape.batch, shape.tokens, shape.heads, x.size(1) / shape.heads}).transpose(1, 2);
}

at::Tensor attention_with_dropout(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const AttentionSpec& spec, const at::Tensor& mask, const Pass& pass,
                                  std::uint32_t draw) {
  at::Tensor scores = at::matmul(q, k.transpose(2, 3)).mul_(spec.scale);
  if (mask.defined()) scores.add_(mask);
  return at::matmul(dropout(at::softmax(scores, 3), spec.dropout, pass, draw), v);
}

}  // namespace

Activation parse_activation(const std::string& name, const std::string& where) {
  static const std::map<std::string, Activation> known = {
      {"gelu", Activation::gelu}, {"gelu_new", Activation::gelu_tanh}, {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"relu", Activation::relu}, {"silu", Activation::silu},          {"swish", Activation::silu},
      {"tanh", Activation::tanh}};
  const auto found = known.find(name);
  if (found != known.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& entry : known) names.push_back(entry.first);
  fail(ExitCode::input, where, ": activation '", name, "' is not supported; supported are: ", text::join(names, ", "));
}

double lowest_of(const at::TensorOptions& options) {
  switch (at::typeMetaToScalarType(options.dtype())) {
    case at::kBFloat16:
      return static_cast<double>(static_cast<float>(std::numeric_limits<at::BFloat16>::lowest()));
    case at::kHalf:
      return static_cast<double>(static_cast<float>(std::numeric_limits<at::Half>::lowest()));
    default:
      return static_cast<double>(std::numeric_limits<float>::lowest());
  }
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return at::gelu(x, "none");
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::relu:
      return at::relu(x);
    case Activation::silu:
      return at::silu(x);
    case Activation::tanh:
      return at::tanh(x);
  }
  return x;
}

at::Tensor add_dropped(at::Tensor fresh, const at::Tensor& residual, double p, const Pass& pass, std::uint32_t draw) {
  if (p > 0 && pass.train) fresh.mul_(dropout_mask(fresh, p, pass, draw));
  return fresh.add_(residual);
}

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionShape& shape, const AttentionSpec& spec, const at::Tensor& mask, const Pass& pass,
                     std::uint32_t draw) {
  const at::Tensor q = split_heads(query, shape), k = split_heads(key, shape), v = split_heads(value, shape);
  const at::TensorOptions options = query.options().requires_grad(false);
  at::Tensor context;
  if (pass.train && spec.dropout > 0) {
    context = attention_with_dropout(q, k, v, spec, score_mask(mask, shape, spec.causal, options), pass, draw);
  } else {
    const bool causal_kernel = spec.causal && !mask.defined();
    const at::Tensor added = causal_kernel ? at::Tensor() : score_mask(mask, shape, spec.causal, options);
    context = at::scaled_dot_product_attention(q, k, v, added.defined() ? std::optional(added) : std::nullopt, 0.0,
                                               causal_kernel, spec.scale);
  }
  return context.transpose(1, 2).reshape({shape.batch * shape.tokens, query.size(1)});
}

double attention_flops(std::int64_t tokens, std::int64_t hidden) {
  return 4.0 * static_cast<double>(tokens) * static_cast<double>(tokens) * static_cast<double>(hidden);
}

}  // namespace hopyard
