// From what a run directory holds to the report on rigor.
#pragma once

#include <vector>

#include "report/rigor_report.h"
#include "runtime/config.h"
#include "runtime/run_directory.h"

namespace hopyard {

/// Reads the predictions behind each trial's last score. `with_noise` also reads the data sets, as far as they are
/// still there: at most kNoiseRowsMax rows of the training and the validation rows.
RigorReport rigor_of_run(const RunPaths& paths, const ExperimentConfig& config, const std::vector<TrialRecord>& records,
                         bool with_noise);
inline constexpr std::uint32_t kNoiseRowsMax = 50'000;

}  // namespace hopyard
