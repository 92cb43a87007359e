// The model families that Hopyard knows: what a config.json and the data's shape give as layers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "formats/json.h"
#include "model/adapter.h"
#include "model/config_reader.h"
#include "model/family_layer.h"
#include "model/model.h"

namespace hopyard {

/// Sizes in config.json may not exceed these, so that their products cannot overflow.
constexpr std::int64_t kWidthMax = 1 << 20, kRowsMax = 1 << 28, kLayersMax = 4096;

/// What PEFT must be told of a family.
struct PeftTraits {
  std::string task;
  std::string blocks;             ///< what stands before a block's number in module names: "layer", "h"
  std::vector<std::string> head;  ///< modules of the head, which train beside the adapters
  bool is_conv1d = false;         ///< products' weights are [in, out]
};

/// A model's layers for one config and one shape of the data. Constant after construction.
class Family {
 public:
  virtual ~Family() = default;
  virtual std::vector<std::shared_ptr<FamilyLayer>> make_layers() const = 0;
  /// Names under which checkpoints hold a parameter, the exporting one first.
  virtual std::vector<std::string> checkpoint_names(const std::string& name) const { return {name}; }
  /// How many token ids the embeddings know; 0 when the family takes features.
  virtual std::int64_t vocabulary() const { return 0; }
  /// The class in transformers that loads an export; empty when there is none.
  virtual std::string architecture() const = 0;
  /// True when that class loads all but the head, whose kind transformers does not have.
  virtual bool head_is_apart() const { return false; }
  /// Of the model's blocks.
  virtual BlockAdapter adapter() const { return {}; }
  virtual PeftTraits peft_traits() const { return {}; }
};

struct FamilyEntry {
  std::string name;  ///< config.json's model_type
  std::vector<ModelTask> tasks;
  DataShape::Input input;
  std::vector<std::string> dropout_keys;  ///< what the override "dropout" stands for
  /// Failure(input) where the config or the data do not fit the family, Failure(usage) where the spec does not.
  std::unique_ptr<Family> (*make)(ConfigReader& config, const ModelSpec& spec, const DataShape& shape);
};

std::unique_ptr<Family> make_bert(ConfigReader& config, const ModelSpec& spec, const DataShape& shape);
std::unique_ptr<Family> make_gpt2(ConfigReader& config, const ModelSpec& spec, const DataShape& shape);
std::unique_ptr<Family> make_mlp(ConfigReader& config, const ModelSpec& spec, const DataShape& shape);

/// Failure(input) for an unknown model_type lists the known ones; Failure(usage) for a task that the family lacks.
const FamilyEntry& find_family(const std::string& model_type, ModelTask task, const std::string& where);

/// Failure(usage) where the spec asks for a pooling or head that only bert has a choice of.
void refuse_head_choice(const ModelSpec& spec, const char* family);
/// Outputs of a head: the classes, or 1 for regression. Failure(usage) when the data name no classes.
std::int64_t output_count(ModelTask task, const DataShape& shape);
/// Failure(input) unless the data's ids are below `vocabulary` and their rows no longer than `positions`.
void check_tokens(const DataShape& shape, std::int64_t vocabulary, std::int64_t positions, const std::string& where);

}  // namespace hopyard
