#include "model/model_spec.h"

#include "base/text.h"

namespace hopyard {

std::string to_string(ModelTask task) {
  switch (task) {
    case ModelTask::sequence_classification:
      return "sequence-classification";
    case ModelTask::causal_lm:
      return "causal-lm";
    case ModelTask::regression:
      return "regression";
  }
  return "?";
}

std::string cost_text(const ModelSpec& spec) {
  const AdapterSpec& adapter = spec.adapter;
  std::string out =
      text::cat(spec.checkpoint, "|", to_string(spec.task), "|", spec.freeze, "|", spec.frozen_dropout, "|",
                static_cast<int>(spec.pooling), "|", static_cast<int>(spec.head), "|", static_cast<int>(adapter.kind),
                "|", adapter.rank.value_or(0), "|", adapter.dropout.value_or(0), "|", text::join(adapter.targets, ","),
                "|", adapter.from, "|", adapter.size, "|", text::join(spec.train_only, ","));
  for (const auto& [name, value] : spec.overrides) out += text::cat("|", name, "=", value);
  return out;
}

std::string training_text(const ModelSpec& spec) {
  std::string out = text::cat("freeze ", spec.freeze);
  if (!spec.train_only.empty()) out += text::cat(", only ", text::join(spec.train_only, " and "));
  if (spec.from_scratch) out += ", from scratch";
  if (spec.reinit_layers > 0) out += text::cat(", ", spec.reinit_layers, " layers anew");
  if (spec.adapter.kind == AdapterSpec::Kind::lora)
    out += text::cat(", lora of rank ", spec.adapter.rank.value_or(kAdapterRank));
  if (spec.adapter.kind == AdapterSpec::Kind::bottleneck) out += text::cat(", bottlenecks of ", spec.adapter.size);
  return out;
}

}  // namespace hopyard
