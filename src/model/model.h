// A model: a list of layers, a loss, a metric, and where its first weights come from.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "model/batch.h"
#include "model/description.h"
#include "model/judged.h"
#include "model/model_spec.h"

namespace hopyard {

class Family;  // bert, gpt2, mlp: families.h
class FamilyLayer;
class Layer;  // layer.h
class PeftFolder;
struct PeftDescription;

/// What the data say about the model: what a row is and how wide, how many classes.
struct DataShape {
  enum class Input { input_ids, features };
  Input input = Input::input_ids;  ///< the column that rows are read from
  std::int64_t tokens = 0;         ///< its width
  std::int64_t classes = 0;        ///< 0 for causal-lm
  std::vector<std::string> label_names;
  std::int64_t vocabulary = 0;  ///< that the ids need; 0 when unknown
};

/// Sums over a micro-batch: losses are summed here and divided by the batch's count by the caller.
struct LossSum {
  at::Tensor sum;          ///< scalar float32, with a graph in training
  std::int64_t items = 0;  ///< counted items (rows; for causal-lm, predicted tokens)
};
enum class ExportForm {
  usual,   ///< LoRA as a PEFT folder, bottlenecks as adapter.safetensors, other models as Hugging Face folders
  merged,  ///< LoRA added to the weights that it stands beside: a Hugging Face folder of the whole model
};

/// Fills the flat buffer of a part of a layer.
using PartReader = std::function<void(std::uint32_t layer, Part part, std::span<std::byte> out)>;

/// Opens the checkpoint and knows the family. Thread-safe after construction; layers() makes new instances for one
/// trial.
class ModelSource {
 public:
  /// Failure(input): unsupported model_type (lists the supported ones), data of the other kind of input, missing or
  /// misshapen tensors, ids beyond the vocabulary, more tokens than positions, a PEFT folder that does not fit.
  /// Failure(usage): freeze deeper than the model, an adapter, pooling or head that the family does not have.
  ModelSource(const ModelSpec& spec, const DataShape& shape);
  ~ModelSource();

  const ModelDescription& description() const { return description_; }
  const ModelSpec& spec() const { return spec_; }  ///< its adapter as model.adapter.from completes it
  const Json& config() const { return config_; }   ///< the effective config.json
  /// Token ids must be below it; 0 for a family that takes features.
  std::int64_t vocabulary() const;
  /// Number of leading layers of which nothing is trained.
  std::uint32_t frozen_layers() const;

  /// Their descriptions are description().layers: what is not trained is marked as frozen.
  std::vector<std::shared_ptr<Layer>> make_layers() const;

  /// Fills the flat buffer (layout_of(description().layers[layer], part)) with the first weights: from the checkpoint
  /// or the adapter's folder, or, where they have none, random as the family initialises them, keyed by (trial_seed,
  /// parameter name). Padding is zeroed. Safe to call from several threads.
  void initialise(std::uint32_t layer, Part part, std::uint64_t trial_seed, std::span<std::byte> out) const;
  /// True when this part's weights all come from files, so that they do not depend on the trial's seed.
  bool from_checkpoint(std::uint32_t layer, Part part) const;

  /// Computed in float32, whatever the logits' type; batch and logits on one device, where the sum is as well.
  LossSum loss(const at::Tensor& logits, const Batch& batch) const;
  /// Items that loss() will count, known before the forward pass.
  std::int64_t counted_items(std::int64_t rows) const;
  /// metric: "valid/accuracy", "valid/loss", "valid/perplexity", "valid/mse".
  static double metric(const MetricSums& sums, const std::string& name);

  /// Writes what `form` says, with the tokenizer files of the checkpoint; `read` fills the flat buffer of a part of a
  /// layer. Returns a sentence for the user where the folder is loaded in another way than a Hugging Face folder of the
  /// whole model. Failure(usage) where there is no such form of this model.
  std::string export_to(const std::string& folder, const PartReader& read, ExportForm form = ExportForm::usual) const;

 private:
  struct StoredValue;
  /// What a file has for a parameter; nothing where it begins anew.
  std::optional<StoredValue> stored(std::uint32_t layer, std::size_t parameter) const;
  bool begins_anew(std::uint32_t layer, std::size_t parameter) const;
  void check_weights() const;
  void check_start() const;
  bool is_frozen(std::uint32_t layer, std::size_t parameter) const;
  PeftDescription peft_description() const;

  ModelSpec spec_;
  DataShape shape_;
  Json config_;
  ModelDescription description_;
  std::unique_ptr<SafetensorsFolder> weights_;  // null: random weights
  std::unique_ptr<PeftFolder> start_;           // null: adapters begin anew
  std::unique_ptr<Family> family_;
  std::vector<std::shared_ptr<const FamilyLayer>> layers_;  // what they declare; never bound
};

}  // namespace hopyard
