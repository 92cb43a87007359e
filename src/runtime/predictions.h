// What a trial said of each row that it was judged on, as a file: trials/ID/predictions-EPOCH.safetensors.
#pragma once

#include <optional>
#include <string>

#include "base/trial.h"
#include "model/row_outcomes.h"

namespace hopyard {

/// Rows in the order of the data set. `digest` is that of the parameters that said it. Tensors: `digest` U8 [32], its
/// hexadecimal digits; `loss` F32 [rows]; and as far as the task has them, `correct` F32 [rows], `predicted` and
/// `labels` I64 [rows], `probabilities` F32 [rows, classes], `values` and `targets` F32 [rows]. Makes the
/// folder; durable on return.
void write_predictions(const std::string& path, const std::string& digest, const RowOutcomes& rows);

/// Nothing when there is no such file, or it holds the predictions of other parameters: what a commit that never came
/// about left. Failure(input) when it is damaged.
std::optional<RowOutcomes> read_predictions(const std::string& path, const std::string& digest);

/// The predictions behind a trial's score on the validation rows, in the folder of a run's trials.
std::string predictions_path(const std::string& trials_folder, const std::string& trial, const Epochs& epoch);

/// Writes those of a score, and removes those before the one that is committed last: two files a trial.
void keep_predictions(const std::string& trials_folder, const TrialScore& score, const RowOutcomes& rows);

}  // namespace hopyard
