// A PEFT folder (adapter_config.json, adapter_model.safetensors) with LoRA, as huggingface/peft writes it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "model/model_spec.h"

namespace hopyard {

/// What PEFT puts before the names of the model's parameters.
inline constexpr const char* kPeftPrefix = "base_model.model.";

class PeftFolder {
 public:
  /// Failure(input): a file is missing or damaged, or the adapter is of a kind that Hopyard does not compute.
  explicit PeftFolder(const std::string& folder);

  /// The spec with what the folder has where it leaves something open. Failure(usage) where the two contradict, or the
  /// folder belongs to another base model than `checkpoint`.
  AdapterSpec complete(const AdapterSpec& spec, const std::string& checkpoint) const;

  /// Names without the prefix.
  const TensorInfo* find(const std::string& name) const { return weights_.find(kPeftPrefix + name); }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const { return weights_.bytes(tensor); }
  std::vector<std::string> names() const;
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_, where_;
  Json config_;
  SafetensorsFile weights_;
  std::int64_t rank_ = 0;
  double alpha_ = 0, dropout_ = 0;
  std::vector<std::string> targets_;
};

/// adapter_config.json for an adapter with nothing left open.
struct PeftDescription {
  std::string base;  ///< the checkpoint
  std::string task;  ///< "SEQ_CLS", "CAUSAL_LM"
  std::int64_t rank = 0;
  double alpha = 0, dropout = 0;
  std::vector<std::string> targets, modules_to_save;
  bool is_conv1d = false;            ///< the products' weights are [in, out]
  std::vector<std::int64_t> blocks;  ///< that have adapters; empty for all
  std::string blocks_pattern;        ///< what stands before a block's number in module names: "layer", "h"
};
Json peft_config(const PeftDescription& description);

}  // namespace hopyard
