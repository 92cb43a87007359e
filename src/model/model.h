// A model: a list of layers, a loss, a metric, and where its first weights come from.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "model/description.h"
#include "model/layer.h"
#include "model/model_spec.h"

namespace hopyard {

class Family;  // bert, gpt2, mlp: families.h

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
/// How a trained model is judged; sums, so that micro-batches add up.
struct MetricSums {
  double loss = 0, correct = 0, squared_error = 0;
  std::int64_t items = 0;
  void add(const MetricSums& other);
};

/// Fills the flat buffer of a part of a layer.
using PartReader = std::function<void(std::uint32_t layer, Part part, std::span<std::byte> out)>;

/// Opens the checkpoint and knows the family. Thread-safe after construction; layers() makes new instances for one
/// trial.
class ModelSource {
 public:
  /// Failure(input): unsupported model_type (lists the supported ones), data of the other kind of input, missing or
  /// misshapen tensors, ids beyond the vocabulary, more tokens than positions. Failure(usage): freeze deeper than the
  /// model.
  ModelSource(const ModelSpec& spec, const DataShape& shape);
  ~ModelSource();

  const ModelDescription& description() const { return description_; }
  const ModelSpec& spec() const { return spec_; }
  const Json& config() const { return config_; }  ///< the effective config.json
  /// Token ids must be below it; 0 for a family that takes features.
  std::int64_t vocabulary() const;
  /// Number of leading layers of which nothing is trained.
  std::uint32_t frozen_layers() const;

  /// Their descriptions are description().layers: what is not trained is marked as frozen.
  std::vector<std::shared_ptr<Layer>> make_layers() const;

  /// Fills the flat buffer (layout_of(description().layers[layer], part)) with the first weights: from the checkpoint,
  /// or, where it has none, random as the family initialises them, keyed by (trial_seed, parameter name). Padding is
  /// zeroed. Safe to call from several threads.
  void initialise(std::uint32_t layer, Part part, std::uint64_t trial_seed, std::span<std::byte> out) const;
  /// True when this part's weights all come from the checkpoint, so that they do not depend on the trial's seed.
  bool from_checkpoint(std::uint32_t layer, Part part) const;

  LossSum loss(const at::Tensor& logits, const Batch& batch) const;
  /// Items that loss() will count, known before the forward pass.
  std::int64_t counted_items(std::int64_t rows) const;
  MetricSums judge(const at::Tensor& logits, const Batch& batch) const;
  /// metric: "valid/accuracy", "valid/loss", "valid/perplexity", "valid/mse".
  static double metric(const MetricSums& sums, const std::string& name);

  /// Writes a Hugging Face folder: config.json (with id2label, architectures, num_labels), model.safetensors, and the
  /// tokenizer files copied from the checkpoint. `read` fills the flat buffer of a part of a layer.
  void export_to(const std::string& folder, const PartReader& read) const;

 private:
  ModelSpec spec_;
  DataShape shape_;
  Json config_;
  ModelDescription description_;
  std::unique_ptr<SafetensorsFolder> weights_;  // null: random weights
  std::unique_ptr<Family> family_;
};

}  // namespace hopyard
