#include "model/families.h"

#include <algorithm>

#include "base/failure.h"

namespace hopyard {
namespace {

const std::vector<FamilyEntry>& families() {
  static const std::vector<FamilyEntry> entries = {
      {"bert",
       {ModelTask::sequence_classification, ModelTask::regression},
       DataShape::Input::input_ids,
       {"hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"},
       make_bert},
      {"gpt2",
       {ModelTask::causal_lm},
       DataShape::Input::input_ids,
       {"embd_pdrop", "resid_pdrop", "attn_pdrop"},
       make_gpt2},
      {"mlp",
       {ModelTask::sequence_classification, ModelTask::regression},
       DataShape::Input::features,
       {"dropout"},
       make_mlp},
  };
  return entries;
}

}  // namespace

const FamilyEntry& find_family(const std::string& model_type, ModelTask task, const std::string& where) {
  std::vector<std::string> names, tasks;
  for (const FamilyEntry& entry : families()) {
    names.push_back(entry.name);
    if (entry.name != model_type) continue;
    if (std::find(entry.tasks.begin(), entry.tasks.end(), task) != entry.tasks.end()) return entry;
    for (ModelTask known : entry.tasks) tasks.push_back(to_string(known));
    fail(ExitCode::usage, "model.task: ", to_string(task), " is not what '", model_type, "' (", where,
         ") does; choose one of: ", text::join(tasks, ", "));
  }
  fail(ExitCode::input, where, ": model_type '", model_type,
       "' is not supported; supported are: ", text::join(names, ", "));
}

void refuse_head_choice(const ModelSpec& spec, const char* family) {
  if (spec.pooling != Pooling::cls)
    fail(ExitCode::usage, "model.pooling: ", family, " pools nothing; only bert has a choice");
  if (spec.head != HeadKind::pooler)
    fail(ExitCode::usage, "model.head: ", family, " has one kind of head; only bert has a choice");
}

std::int64_t output_count(ModelTask task, const DataShape& shape) {
  if (task == ModelTask::regression) return 1;
  if (shape.classes < 1)
    fail(ExitCode::usage, "model.task: sequence-classification needs data with label names in dataset.json");
  return shape.classes;
}

void check_tokens(const DataShape& shape, std::int64_t vocabulary, std::int64_t positions, const std::string& where) {
  if (shape.vocabulary > vocabulary)
    fail(ExitCode::input, where, ": the data need a vocabulary of ", shape.vocabulary, " but the model has ",
         vocabulary, "; prepare the data with the model's own tokenizer.json");
  if (shape.tokens > positions)
    fail(ExitCode::input, where, ": rows of ", shape.tokens, " tokens are longer than the model's ", positions,
         " positions; prepare the data with at most that many tokens");
}

}  // namespace hopyard
