#include "model/model_spec.h"

namespace hopyard {

std::string to_string(Task task) {
  switch (task) {
    case Task::sequence_classification:
      return "sequence-classification";
    case Task::causal_lm:
      return "causal-lm";
    case Task::regression:
      return "regression";
  }
  return "?";
}

std::optional<Task> parse_task(const std::string& word) {
  for (Task task : {Task::sequence_classification, Task::causal_lm, Task::regression})
    if (to_string(task) == word) return task;
  return std::nullopt;
}

}  // namespace hopyard
