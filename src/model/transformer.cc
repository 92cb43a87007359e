#include "model/transformer.h"

#include <ATen/Functions.h>

#include <cmath>

#include "base/failure.h"
#include "model/families.h"

namespace hopyard {
namespace {

constexpr std::uint32_t kAdapterDraws = 16;  // draws of a block's adapters begin here; the block's own are before

}  // namespace

void check_transformer(const TransformerConfig& config, const DataShape& shape, const ConfigReader& reader,
                       const char* hidden_key, const char* heads_key) {
  if (config.hidden % config.heads != 0)
    fail(ExitCode::input, reader.where(), ": ", hidden_key, " ", config.hidden, " is not a multiple of ", heads_key,
         " ", config.heads);
  check_tokens(shape, config.vocabulary, config.positions, reader.where());
}

double block_flops(const TransformerConfig& config) {
  const double hidden = config.hidden, inner = config.inner, tokens = config.tokens;
  return 2 * tokens * (4 * hidden * hidden + 2 * hidden * inner) + attention_flops(config.tokens, config.hidden);
}

std::vector<std::string> names_with_and_without(const std::string& prefix, const std::string& name) {
  if (!name.starts_with(prefix)) return {name};
  return {name, name.substr(prefix.size())};
}

TransformerLayer::TransformerLayer(const TransformerConfig& config, std::string name, std::string kind)
    : hidden_(config.hidden), epsilon_(config.epsilon) {
  description_.name = std::move(name);
  description_.kind = std::move(kind);
  description_.output_bytes_per_row = config.tokens * config.hidden * sizeof(float);
}

std::size_t TransformerLayer::weight_and_bias(const std::string& name, std::vector<std::int64_t> shape,
                                              std::int64_t out, double deviation, Role role) {
  const std::size_t index = weight(name + ".weight", std::move(shape), InitialValue::normal(deviation), role);
  plain(name + ".bias", {out}, InitialValue::zeros(), role);
  return index;
}

std::size_t TransformerLayer::norm(const std::string& name) {
  const std::size_t index = plain(name + ".weight", {hidden_}, InitialValue::ones(), Role::norm);
  plain(name + ".bias", {hidden_}, InitialValue::zeros(), Role::norm);
  return index;
}

at::Tensor TransformerLayer::normalise(std::size_t norm, const at::Tensor& x) const {
  return at::layer_norm(x, {hidden_}, parameter(norm), parameter(norm + 1), epsilon_);
}

TransformerBlock::TransformerBlock(const TransformerConfig& config, std::int64_t index, const std::string& name,
                                   std::string kind, std::string prefix)
    : TransformerLayer(config, text::cat(name, ".", index), std::move(kind)),
      adapter_(config.adapter),
      adapted_(adapter_.kind != AdapterSpec::Kind::none && index >= adapter_.first_block),
      prefix_(std::move(prefix)),
      tokens_(static_cast<double>(config.tokens)),
      hidden_(config.hidden),
      draws_(kAdapterDraws) {
  description_.forward_flops_per_row = block_flops(config);
}

TransformerBlock::Product TransformerBlock::product(const std::string& path, std::int64_t in, std::int64_t out,
                                                    double deviation, bool is_conv1d) {
  Product product;
  product.is_conv1d = is_conv1d;
  const std::vector<std::int64_t> shape = is_conv1d ? std::vector{in, out} : std::vector{out, in};
  product.weight = weight_and_bias(prefix_ + path, shape, out, deviation);
  if (!adapted_ || adapter_.kind != AdapterSpec::Kind::lora || !is_target(path, adapter_.targets)) return product;
  // As peft begins: A as torch.nn.Linear does (kaiming_uniform_ with a = √5), B at zero.
  const InitialValue uniform = InitialValue::uniform(1 / std::sqrt(static_cast<double>(in)));
  product.down = weight(prefix_ + path + ".lora_A.weight", {adapter_.rank, in}, uniform, Role::adapter);
  weight(prefix_ + path + ".lora_B.weight", {out, adapter_.rank}, InitialValue::zeros(), Role::adapter);
  product.draw = draws_++;
  description_.forward_flops_per_row += 2 * tokens_ * static_cast<double>(adapter_.rank * (in + out));
  return product;
}

at::Tensor TransformerBlock::apply(const Product& product, const at::Tensor& rows, const Pass& pass) const {
  const at::Tensor &weight = parameter(product.weight), &bias = parameter(product.weight + 1);
  at::Tensor y = product.is_conv1d ? at::addmm(bias, rows, weight) : at::linear(rows, weight, bias);
  if (!product.down) return y;
  const at::Tensor narrow = at::linear(dropout(rows, adapter_.dropout, pass, product.draw), parameter(*product.down));
  return y.add_(at::linear(narrow, parameter(*product.down + 1)), adapter_.scale);
}

std::optional<std::size_t> TransformerBlock::bottleneck(const std::string& path) {
  if (!adapted_ || adapter_.kind != AdapterSpec::Kind::bottleneck) return std::nullopt;
  constexpr double kDeviation = 0.01;  // Houlsby et al., 3.6: so near zero that the adapter begins as the identity
  const std::string name = prefix_ + path + ".adapter.";
  const std::size_t down =
      weight_and_bias(name + "down", {adapter_.size, hidden_}, adapter_.size, kDeviation, Role::adapter);
  weight_and_bias(name + "up", {hidden_, adapter_.size}, hidden_, kDeviation, Role::adapter);
  description_.forward_flops_per_row += 2 * tokens_ * static_cast<double>(2 * adapter_.size * hidden_);
  return down;
}

at::Tensor TransformerBlock::join(const std::optional<std::size_t>& bottleneck, at::Tensor fresh,
                                  const at::Tensor& residual, double p, const Pass& pass, std::uint32_t draw) const {
  if (!bottleneck) return add_dropped(std::move(fresh), residual, p, pass, draw);
  const at::Tensor x = dropout(fresh, p, pass, draw);
  const std::size_t down = *bottleneck, up = down + 2;
  const at::Tensor narrow = at::gelu(at::linear(x, parameter(down), parameter(down + 1)), "none");
  return at::linear(narrow, parameter(up), parameter(up + 1)).add_(x).add_(residual);
}

}  // namespace hopyard
