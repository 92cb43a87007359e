// What the transformer families share: the sizes in their configs, norms, products with a bias and what adapters add to
// them, and the order of layers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/adapter.h"
#include "model/blocks.h"
#include "model/config_reader.h"
#include "model/family_layer.h"
#include "model/model.h"

namespace hopyard {

/// Sizes that every transformer has, under whatever name its config.json gives them.
struct TransformerConfig {
  std::int64_t vocabulary = 0, positions = 0, hidden = 0, layers = 0, heads = 0, inner = 0;
  std::int64_t tokens = 0;  ///< of a row, as the data have them
  double attention_dropout = 0, deviation = 0, epsilon = 0;
  Activation activation = Activation::gelu;
  BlockAdapter adapter;
};

/// Failure(input) unless heads divide the hidden width and the data fit vocabulary and positions. The keys are
/// config.json's.
void check_transformer(const TransformerConfig& config, const DataShape& shape, const ConfigReader& reader,
                       const char* hidden_key, const char* heads_key);

/// Multiplications and additions of one block's forward pass without its adapters, for one row.
double block_flops(const TransformerConfig& config);

/// Names under which checkpoints hold a parameter: with the prefix, and without, as files of the model without a head
/// have it.
std::vector<std::string> names_with_and_without(const std::string& prefix, const std::string& name);

/// A layer whose boundary is [batch, tokens, hidden], unless it says otherwise.
class TransformerLayer : public FamilyLayer {
 protected:
  TransformerLayer(const TransformerConfig& config, std::string name, std::string kind);

  /// A weight of this shape and a bias of `out`, which is the parameter after it. Returns the weight's index.
  std::size_t weight_and_bias(const std::string& name, std::vector<std::int64_t> shape, std::int64_t out,
                              double deviation, Role role = Role::body);
  /// A layer norm over the hidden width: its weight, with its bias after it.
  std::size_t norm(const std::string& name);
  at::Tensor normalise(std::size_t norm, const at::Tensor& x) const;

 private:
  std::int64_t hidden_;
  double epsilon_;
};

/// One of the blocks between embeddings and head, which adapters belong to.
class TransformerBlock : public TransformerLayer {
 protected:
  /// `index` among the blocks.
  TransformerBlock(const TransformerConfig& config, std::int64_t index, const std::string& name, std::string kind,
                   std::string prefix);

  /// A product with a bias, and LoRA's two beside it where the adapter targets it.
  struct Product {
    std::size_t weight = 0;           ///< its bias is the parameter after it
    bool is_conv1d = false;           ///< weight is [in, out], as transformers' Conv1D has it, instead of [out, in]
    std::optional<std::size_t> down;  ///< LoRA's A [rank, in]; B [out, rank] is the parameter after it
    std::uint32_t draw = 0;           ///< of LoRA's dropout
  };
  /// `path`: of the module within the block, "attention.self.query".
  Product product(const std::string& path, std::int64_t in, std::int64_t out, double deviation, bool is_conv1d);
  at::Tensor apply(const Product& product, const at::Tensor& rows, const Pass& pass) const;

  /// A bottleneck `path`.adapter where the adapter is one: its two weights, each with its bias after it.
  std::optional<std::size_t> bottleneck(const std::string& path);
  /// residual + dropout(fresh), with the bottleneck, if there is one, between the two (Houlsby et al., fig. 2). `fresh`
  /// as add_dropped() takes it.
  at::Tensor join(const std::optional<std::size_t>& bottleneck, at::Tensor fresh, const at::Tensor& residual, double p,
                  const Pass& pass, std::uint32_t draw) const;

 private:
  const BlockAdapter adapter_;
  const bool adapted_;
  const std::string prefix_;
  const double tokens_;
  const std::int64_t hidden_;
  std::uint32_t draws_;
};

/// Embeddings, the blocks, the head.
template <class Embeddings, class Block, class Head, class Config>
std::vector<std::shared_ptr<FamilyLayer>> transformer_layers(const Config& config) {
  std::vector<std::shared_ptr<FamilyLayer>> layers{std::make_shared<Embeddings>(config)};
  for (std::int64_t i = 0; i < config.layers; ++i) layers.push_back(std::make_shared<Block>(config, i));
  layers.push_back(std::make_shared<Head>(config));
  return layers;
}

}  // namespace hopyard
