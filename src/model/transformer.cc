#include "model/transformer.h"

#include <ATen/Functions.h>

#include "base/failure.h"
#include "model/families.h"

namespace hopyard {

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
                                              std::int64_t out, double deviation, Origin origin) {
  const std::size_t index = weight(name + ".weight", std::move(shape), InitialValue::normal(deviation), origin);
  plain(name + ".bias", {out}, InitialValue::zeros(), origin);
  return index;
}

std::size_t TransformerLayer::norm(const std::string& name) {
  const std::size_t index = plain(name + ".weight", {hidden_}, InitialValue::ones());
  plain(name + ".bias", {hidden_}, InitialValue::zeros());
  return index;
}

at::Tensor TransformerLayer::normalise(std::size_t norm, const at::Tensor& x) const {
  return at::layer_norm(x, {hidden_}, parameter(norm), parameter(norm + 1), epsilon_);
}

}  // namespace hopyard
