#include "model/model_spec.h"

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

}  // namespace hopyard
