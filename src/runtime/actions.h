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
  std::string replay;  ///< a run directory whose decisions are repeated; empty: the search decides
};

/// Trains an experiment to its end, or goes on with it. Prints progress, leaderboard and summary.
ExitCode run_experiment(const RunRequest& request);

/// Prints what a run will do and cost. `target` is a config file, or a run directory: then measured values stand
/// beside.
ExitCode print_plan(const std::string& target, const std::vector<std::pair<std::string, std::string>>& overrides,
                    TableFormat format);
/// Prints the trials that a config asks for before any score, and how many more there will be.
ExitCode print_trials(const std::string& config_file, const std::vector<std::pair<std::string, std::string>>& overrides,
                      TableFormat format);
ExitCode print_leaderboard(const std::string& directory, TableFormat format);
/// Writes a trial's newest committed parameters as a Hugging Face folder.
ExitCode export_trial(const std::string& directory, const std::string& trial, const std::string& out);

struct TestRequest {
  std::string directory;
  std::string trial;                                           ///< empty: the best of the leaderboard
  std::string reason;                                          ///< goes into the journal
  std::vector<std::pair<std::string, std::string>> overrides;  ///< of resources, execute and data.test
};
/// Evaluates a trial on the test split, and records that somebody looked.
ExitCode test_trial(const TestRequest& request);

struct ReproduceRequest {
  std::string directory, trial;
  std::string out;                                             ///< empty: a directory beside the run's
  std::vector<std::pair<std::string, std::string>> overrides;  ///< of resources and execute
  bool fresh = false;
};
/// Trains one trial again, with its lineage, and compares digests; ExitCode::internal where they differ.
ExitCode reproduce_trial(const ReproduceRequest& request);
/// Prints what was found on this machine and what to do about what was not.
ExitCode print_doctor();

}  // namespace hopyard
