// The part of a trial's config that decides its model, as plain values without tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hopyard {

enum class ModelTask { sequence_classification, causal_lm, regression };

/// As the config spells it: "sequence-classification", "causal-lm", "regression".
std::string to_string(ModelTask task);

/// Small parts that train while the model around them is frozen: LoRA (Hu et al., ICLR 2022) beside the products of the
/// blocks, or bottlenecks behind them (Houlsby et al., ICML 2019). The head trains too.
struct AdapterSpec {
  enum class Kind { none, lora, bottleneck };
  Kind kind = Kind::none;
  /// lora: what is not set is as the folder `from` has it, or else rank 8, alpha 8, dropout 0.
  std::optional<std::int64_t> rank;
  std::optional<double> alpha, dropout;
  /// lora: names as in PEFT's target_modules, or "attention" or "all" alone; empty for the family's usual ones.
  std::vector<std::string> targets;
  std::string from;        ///< lora: a PEFT folder to begin with; empty for none
  std::int64_t size = 64;  ///< bottleneck: its width
  bool operator==(const AdapterSpec&) const = default;
};
constexpr std::int64_t kAdapterRank = 8;
constexpr double kAdapterAlpha = 8;

enum class Pooling { cls, mean, max };
/// pooler: BERT's dense layer with tanh, then the classifier; linear: the classifier alone; mlp: a new dense layer with
/// tanh, then the classifier, as in transformers' RobertaClassificationHead.
enum class HeadKind { pooler, linear, mlp };

struct ModelSpec {
  std::string checkpoint;  ///< a Hugging Face folder; with config.json alone, weights are random
  ModelTask task = ModelTask::sequence_classification;
  std::int64_t freeze = 0;      ///< 0 nothing, 1 embeddings, 1+k also the first k layers
  bool frozen_dropout = false;  ///< false: frozen layers run in eval mode
  /// When there are any, a parameter whose name contains none of these is frozen ("bias": Ben Zaken et al., BitFit,
  /// 2022).
  std::vector<std::string> train_only;
  bool from_scratch = false;       ///< true: all weights are random, whatever the checkpoint holds
  std::int64_t reinit_layers = 0;  ///< so many blocks before the head begin anew, and from 1 the head's weights too
  Pooling pooling = Pooling::cls;
  HeadKind head = HeadKind::pooler;
  AdapterSpec adapter;
  /// config.json values changed by the config. "dropout" stands for every dropout of the family.
  std::vector<std::pair<std::string, double>> overrides;
  bool operator==(const ModelSpec&) const = default;
};

/// What decides the cost of the model's layers beside its checkpoint, as text.
std::string cost_text(const ModelSpec& spec);

/// For people, what of the model trains: "freeze 2, lora of rank 8, from scratch".
std::string training_text(const ModelSpec& spec);

}  // namespace hopyard
