// BERT with a head over the first token (Devlin et al., NAACL 2019), as transformers' BertForSequenceClassification, or
// over the mean or the maximum of all tokens.
#include <ATen/Functions.h>

#include <cmath>

#include "base/failure.h"
#include "model/bert_head.h"
#include "model/families.h"

namespace hopyard {
namespace {

struct BertConfig : BertHeadConfig {
  std::int64_t types = 0, padding_id = 0;
  double dropout = 0;
};

const std::vector<std::string> kProducts{"query",       "key", "value", "attention.output.dense", "intermediate.dense",
                                         "output.dense"};
const AdapterTargets kTargets{{"attention.self.query", "attention.self.key", "attention.self.value",
                               "attention.output.dense", "intermediate.dense", "output.dense"},
                              {"query", "value"},
                              {"query", "key", "value", "attention.output.dense"},
                              kProducts};

void refuse_variants(ConfigReader& reader) {
  const std::string positions = reader.word("position_embedding_type", "absolute");
  if (positions != "absolute")
    fail(ExitCode::input, reader.where(), ": position_embedding_type '", positions,
         "' is not supported, only 'absolute'");
  if (reader.flag("is_decoder", false))
    fail(ExitCode::input, reader.where(), ": is_decoder is not supported; bert is trained as an encoder");
}

BertConfig read_config(ConfigReader& reader, const ModelSpec& spec, const DataShape& shape) {
  refuse_variants(reader);
  BertConfig config;
  config.adapter = resolve_adapter(spec, kTargets);
  config.pooling = spec.pooling;
  config.head = spec.head;
  config.vocabulary = reader.count("vocab_size", 30522, kRowsMax);
  config.hidden = reader.count("hidden_size", 768, kWidthMax);
  config.layers = reader.count("num_hidden_layers", 12, kLayersMax);
  config.heads = reader.count("num_attention_heads", 12, kWidthMax);
  config.inner = reader.count("intermediate_size", 3072, kWidthMax);
  config.positions = reader.count("max_position_embeddings", 512, kRowsMax);
  config.types = reader.count("type_vocab_size", 2, kWidthMax);
  config.padding_id = reader.integer("pad_token_id", 0);
  config.dropout = reader.probability("hidden_dropout_prob", 0.1);
  config.attention_dropout = reader.probability("attention_probs_dropout_prob", 0.1);
  config.head_dropout = reader.probability("classifier_dropout", config.dropout);
  config.deviation = reader.number("initializer_range", 0.02);
  config.epsilon = reader.number("layer_norm_eps", 1e-12);
  config.activation = parse_activation(reader.word("hidden_act", "gelu"), reader.where());
  config.tokens = shape.tokens;
  config.outputs = output_count(spec.task, shape);
  if (config.padding_id < 0 || config.padding_id >= config.vocabulary)
    fail(ExitCode::input, reader.where(), ": pad_token_id ", config.padding_id, " is outside the vocabulary of ",
         config.vocabulary);
  check_transformer(config, shape, reader, "hidden_size", "num_attention_heads");
  return config;
}

class BertEmbeddings : public TransformerLayer {
 public:
  explicit BertEmbeddings(const BertConfig& config)
      : TransformerLayer(config, "embeddings", "bert.embeddings"), config_(config) {
    const std::string prefix = "bert.embeddings.";
    const std::int64_t hidden = config.hidden;
    words_ = weight(prefix + "word_embeddings.weight", {config.vocabulary, hidden},
                    InitialValue::normal(config.deviation, config.padding_id));
    positions_ = weight(prefix + "position_embeddings.weight", {config.positions, hidden},
                        InitialValue::normal(config.deviation));
    types_ =
        weight(prefix + "token_type_embeddings.weight", {config.types, hidden}, InitialValue::normal(config.deviation));
    norm_ = norm(prefix + "LayerNorm");
  }

  at::Tensor forward(const at::Tensor&, const Batch& batch, const Pass& pass) override {
    const std::int64_t tokens = batch.inputs.size(1);
    const at::Tensor places = parameter(positions_).slice(0, 0, tokens) + parameter(types_).select(0, 0);
    const at::Tensor words = at::embedding(parameter(words_), batch.inputs, config_.padding_id);
    return dropout(normalise(norm_, words + places), config_.dropout, pass, 0);
  }

 private:
  BertConfig config_;
  std::size_t words_, positions_, types_, norm_;
};

class BertEncoder : public TransformerBlock {
 public:
  BertEncoder(const BertConfig& config, std::int64_t index)
      : TransformerBlock(config, index, "encoder", "bert.encoder", text::cat("bert.encoder.layer.", index, ".")),
        config_(config) {
    const std::string prefix = text::cat("bert.encoder.layer.", index, ".");
    query_ = dense("attention.self.query", config.hidden, config.hidden);
    key_ = dense("attention.self.key", config.hidden, config.hidden);
    value_ = dense("attention.self.value", config.hidden, config.hidden);
    attended_ = dense("attention.output.dense", config.hidden, config.hidden);
    attended_norm_ = norm(prefix + "attention.output.LayerNorm");
    expand_ = dense("intermediate.dense", config.hidden, config.inner);
    reduce_ = dense("output.dense", config.inner, config.hidden);
    reduced_norm_ = norm(prefix + "output.LayerNorm");
    attended_bottleneck_ = bottleneck("attention.output");
    reduced_bottleneck_ = bottleneck("output");
  }

  at::Tensor forward(const at::Tensor& x, const Batch& batch, const Pass& pass) override {
    const AttentionShape shape{x.size(0), x.size(1), config_.heads};
    const at::Tensor rows = x.view({-1, config_.hidden});
    const at::Tensor attended = attend(rows, shape, batch.attention_mask, pass);
    const at::Tensor expanded = activate(apply(expand_, attended, pass), config_.activation);
    const at::Tensor sum =
        join(reduced_bottleneck_, apply(reduce_, expanded, pass), attended, config_.dropout, pass, 2);
    return normalise(reduced_norm_, sum).view(x.sizes());
  }

 private:
  Product dense(const std::string& path, std::int64_t in, std::int64_t out) {
    return product(path, in, out, config_.deviation, /*is_conv1d=*/false);
  }
  at::Tensor attend(const at::Tensor& rows, const AttentionShape& shape, const at::Tensor& mask,
                    const Pass& pass) const {
    const double width = static_cast<double>(config_.hidden) / static_cast<double>(config_.heads);
    const AttentionSpec spec{1 / std::sqrt(width), config_.attention_dropout, /*causal=*/false};
    const at::Tensor context = attention(apply(query_, rows, pass), apply(key_, rows, pass), apply(value_, rows, pass),
                                         shape, spec, mask, pass, 0);
    return normalise(attended_norm_,
                     join(attended_bottleneck_, apply(attended_, context, pass), rows, config_.dropout, pass, 1));
  }

  BertConfig config_;
  Product query_, key_, value_, attended_, expand_, reduce_;
  std::size_t attended_norm_, reduced_norm_;
  std::optional<std::size_t> attended_bottleneck_, reduced_bottleneck_;
};

class Bert : public Family {
 public:
  explicit Bert(const BertConfig& config) : config_(config) {}

  std::vector<std::shared_ptr<FamilyLayer>> make_layers() const override {
    return transformer_layers<BertEmbeddings, BertEncoder, BertHead>(config_);
  }

  std::vector<std::string> checkpoint_names(const std::string& name) const override {
    std::vector<std::string> names = names_with_and_without("bert.", name);
    // Early conversions from TensorFlow call a norm's parameters gamma and beta.
    for (std::size_t i = 0, count = names.size(); i < count; ++i) {
      const std::size_t norm = names[i].rfind("LayerNorm.");
      if (norm == std::string::npos) continue;
      names.push_back(names[i].substr(0, norm) + (names[i].ends_with("weight") ? "LayerNorm.gamma" : "LayerNorm.beta"));
    }
    return names;
  }

  std::int64_t vocabulary() const override { return config_.vocabulary; }

  std::string architecture() const override { return head_is_apart() ? "BertModel" : "BertForSequenceClassification"; }
  bool head_is_apart() const override { return config_.pooling != Pooling::cls || config_.head != HeadKind::pooler; }

  BlockAdapter adapter() const override { return config_.adapter; }
  PeftTraits peft_traits() const override { return {"SEQ_CLS", "layer", {"classifier", "pooler"}, false}; }

 private:
  BertConfig config_;
};

}  // namespace

std::unique_ptr<Family> make_bert(ConfigReader& config, const ModelSpec& spec, const DataShape& shape) {
  return std::make_unique<Bert>(read_config(config, spec, shape));
}

}  // namespace hopyard
