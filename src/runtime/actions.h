// What the verbs of the command line do. Each throws Failure for what a user can put right.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/failure.h"
#include "report/leaderboard.h"

namespace hopyard {

struct RunRequest {
  std::string config_file;
  std::string directory;  ///< empty: runs/NAME
  std::vector<std::pair<std::string, std::string>> overrides;
  bool fresh = false;
};

/// Trains an experiment to its end, or goes on with it. Prints progress, leaderboard and summary.
ExitCode run_experiment(const RunRequest& request);

/// Prints what a run will do and cost. `target` is a config file, or a run directory: then measured values stand
/// beside.
ExitCode print_plan(const std::string& target, const std::vector<std::pair<std::string, std::string>>& overrides,
                    TableFormat format);
ExitCode print_leaderboard(const std::string& directory, TableFormat format);
/// Writes a trial's newest committed parameters as a Hugging Face folder; of LoRA as a PEFT folder unless `merge`.
ExitCode export_trial(const std::string& directory, const std::string& trial, const std::string& out, bool merge);
/// Prints what was found on this machine and what to do about what was not.
ExitCode print_doctor();

}  // namespace hopyard
