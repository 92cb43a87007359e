// The part of a trial's config that decides its model, as plain values without tensors.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hopyard {

enum class ModelTask { sequence_classification, causal_lm, regression };

/// As the config spells it: "sequence-classification", "causal-lm", "regression".
std::string to_string(ModelTask task);

struct ModelSpec {
  std::string checkpoint;  ///< a Hugging Face folder; with config.json alone, weights are random
  ModelTask task = ModelTask::sequence_classification;
  std::int64_t freeze = 0;      ///< 0 nothing, 1 embeddings, 1+k also the first k layers
  bool frozen_dropout = false;  ///< false: frozen layers run in eval mode
  /// When there are any, a parameter whose name contains none of these is frozen ("bias": Ben Zaken et al., BitFit,
  /// 2022).
  std::vector<std::string> train_only;
  /// config.json values changed by the config. "dropout" stands for every dropout of the family.
  std::vector<std::pair<std::string, double>> overrides;
  bool operator==(const ModelSpec&) const = default;
};

}  // namespace hopyard
