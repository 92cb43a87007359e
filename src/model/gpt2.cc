// GPT-2 with a language-model head (Radford et al., 2019), as transformers' GPT2LMHeadModel. Its products are Conv1D:
// weights are [in, out].
#include <ATen/Functions.h>

#include <cmath>

#include "base/failure.h"
#include "model/families.h"
#include "model/transformer.h"

namespace hopyard {
namespace {

struct Gpt2Config : TransformerConfig {
  double embedding_dropout = 0, residual_dropout = 0;
  bool scale_weights = true, scale_by_layer = false, tied = true;
};

const AdapterTargets kTargets{{"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"},
                              {"c_attn"},
                              {"c_attn", "attn.c_proj"},
                              {"c_attn", "c_proj", "c_fc"}};

Gpt2Config read_config(ConfigReader& reader, const ModelSpec& spec, const DataShape& shape) {
  refuse_head_choice(spec, "gpt2");
  Gpt2Config config;
  config.adapter = resolve_adapter(spec, kTargets);
  config.vocabulary = reader.count("vocab_size", 50257, kRowsMax);
  config.positions = reader.count("n_positions", 1024, kRowsMax);
  config.hidden = reader.count("n_embd", 768, kWidthMax);
  config.layers = reader.count("n_layer", 12, kLayersMax);
  config.heads = reader.count("n_head", 12, kWidthMax);
  config.inner = reader.count("n_inner", 4 * config.hidden, kWidthMax);
  config.embedding_dropout = reader.probability("embd_pdrop", 0.1);
  config.residual_dropout = reader.probability("resid_pdrop", 0.1);
  config.attention_dropout = reader.probability("attn_pdrop", 0.1);
  config.deviation = reader.number("initializer_range", 0.02);
  config.epsilon = reader.number("layer_norm_epsilon", 1e-5);
  config.scale_weights = reader.flag("scale_attn_weights", true);
  config.scale_by_layer = reader.flag("scale_attn_by_inverse_layer_idx", false);
  config.tied = reader.flag("tie_word_embeddings", true);
  config.activation = parse_activation(reader.word("activation_function", "gelu_new"), reader.where());
  config.tokens = shape.tokens;
  if (reader.flag("add_cross_attention", false))
    fail(ExitCode::input, reader.where(), ": add_cross_attention is not supported; gpt2 is trained as a decoder alone");
  if (shape.tokens < 2) fail(ExitCode::input, reader.where(), ": causal-lm needs rows of at least 2 tokens");
  check_transformer(config, shape, reader, "n_embd", "n_head");
  return config;
}

constexpr std::size_t kWordsParameter = 0;  // of the embeddings; the head is tied to it

class Gpt2Embeddings : public TransformerLayer {
 public:
  explicit Gpt2Embeddings(const Gpt2Config& config)
      : TransformerLayer(config, "embeddings", "gpt2.embeddings"), config_(config) {
    const InitialValue random = InitialValue::normal(config.deviation);
    words_ = weight("transformer.wte.weight", {config.vocabulary, config.hidden}, random);
    positions_ = weight("transformer.wpe.weight", {config.positions, config.hidden}, random);
    require(words_ == kWordsParameter, "wte is parameter ", words_);
  }

  at::Tensor forward(const at::Tensor&, const Batch& batch, const Pass& pass) override {
    const at::Tensor places = parameter(positions_).slice(0, 0, batch.inputs.size(1));
    const at::Tensor sum = at::embedding(parameter(words_), batch.inputs) + places;
    return dropout(sum, config_.embedding_dropout, pass, 0);
  }

 private:
  Gpt2Config config_;
  std::size_t words_, positions_;
};

class Gpt2Block : public TransformerBlock {
 public:
  Gpt2Block(const Gpt2Config& config, std::int64_t index)
      : TransformerBlock(config, index, "h", "gpt2.block", text::cat("transformer.h.", index, ".")),
        config_(config),
        index_(index) {
    const std::string prefix = text::cat("transformer.h.", index, ".");
    const double residual = config.deviation / std::sqrt(2.0 * static_cast<double>(config.layers));
    norm_1_ = norm(prefix + "ln_1");
    attend_ = conv("attn.c_attn", config.hidden, 3 * config.hidden, config.deviation);
    attended_ = conv("attn.c_proj", config.hidden, config.hidden, residual);
    norm_2_ = norm(prefix + "ln_2");
    expand_ = conv("mlp.c_fc", config.hidden, config.inner, config.deviation);
    reduce_ = conv("mlp.c_proj", config.inner, config.hidden, residual);
    attended_bottleneck_ = bottleneck("attn");
    reduced_bottleneck_ = bottleneck("mlp");
  }

  at::Tensor forward(const at::Tensor& x, const Batch& batch, const Pass& pass) override {
    const AttentionShape shape{x.size(0), x.size(1), config_.heads};
    const at::Tensor rows = x.view({-1, config_.hidden});
    const at::Tensor context = attend(normalise(norm_1_, rows), shape, batch.attention_mask, pass);
    const double p = config_.residual_dropout;
    const at::Tensor middle = join(attended_bottleneck_, apply(attended_, context, pass), rows, p, pass, 1);
    const at::Tensor expanded = activate(apply(expand_, normalise(norm_2_, middle), pass), config_.activation);
    return join(reduced_bottleneck_, apply(reduce_, expanded, pass), middle, p, pass, 2).view(x.sizes());
  }

 private:
  Product conv(const std::string& path, std::int64_t in, std::int64_t out, double deviation) {
    return product(path, in, out, deviation, /*is_conv1d=*/true);
  }
  at::Tensor attend(const at::Tensor& rows, const AttentionShape& shape, const at::Tensor& mask,
                    const Pass& pass) const {
    AttentionSpec spec{1, config_.attention_dropout, /*causal=*/true};
    const double width = static_cast<double>(config_.hidden) / static_cast<double>(config_.heads);
    if (config_.scale_weights) spec.scale /= std::sqrt(width);
    if (config_.scale_by_layer) spec.scale /= static_cast<double>(index_ + 1);
    const std::vector<at::Tensor> qkv = apply(attend_, rows, pass).split(config_.hidden, 1);
    return attention(qkv[0], qkv[1], qkv[2], shape, spec, mask, pass, 0);
  }

  Gpt2Config config_;
  std::int64_t index_;
  Product attend_, attended_, expand_, reduce_;
  std::size_t norm_1_, norm_2_;
  std::optional<std::size_t> attended_bottleneck_, reduced_bottleneck_;
};

class Gpt2Head : public TransformerLayer {
 public:
  explicit Gpt2Head(const Gpt2Config& config) : TransformerLayer(config, "head", "gpt2.head"), config_(config) {
    description_.output_bytes_per_row = config.tokens * config.vocabulary * sizeof(float);
    description_.forward_flops_per_row = 2.0 * static_cast<double>(config.tokens) * static_cast<double>(config.hidden) *
                                         static_cast<double>(config.vocabulary);
    norm_ = norm("transformer.ln_f");
    const std::vector<std::int64_t> shape{config.vocabulary, config.hidden};
    output_ = config.tied ? tied("transformer.wte.weight", shape, {0, kWordsParameter})
                          : weight("lm_head.weight", shape, InitialValue::normal(config.deviation));
  }

  at::Tensor forward(const at::Tensor& x, const Batch&, const Pass&) override {
    const at::Tensor normed = normalise(norm_, x.view({-1, config_.hidden}));
    return at::linear(normed, parameter(output_)).view({x.size(0), x.size(1), config_.vocabulary});
  }

 private:
  Gpt2Config config_;
  std::size_t norm_, output_;
};

class Gpt2 : public Family {
 public:
  explicit Gpt2(const Gpt2Config& config) : config_(config) {}

  std::vector<std::shared_ptr<FamilyLayer>> make_layers() const override {
    return transformer_layers<Gpt2Embeddings, Gpt2Block, Gpt2Head>(config_);
  }

  std::vector<std::string> checkpoint_names(const std::string& name) const override {
    return names_with_and_without("transformer.", name);
  }

  std::int64_t vocabulary() const override { return config_.vocabulary; }

  std::string architecture() const override { return "GPT2LMHeadModel"; }

  BlockAdapter adapter() const override { return config_.adapter; }
  PeftTraits peft_traits() const override { return {"CAUSAL_LM", "h", {}, true}; }

 private:
  Gpt2Config config_;
};

}  // namespace

std::unique_ptr<Family> make_gpt2(ConfigReader& config, const ModelSpec& spec, const DataShape& shape) {
  return std::make_unique<Gpt2>(read_config(config, spec, shape));
}

}  // namespace hopyard
