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

}  // namespace hopyard
