// What the verbs of the command line do. Each throws Failure for what a user can put right.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/failure.h"
#include "data/partition_writer.h"
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
/// `members`: single trials, also where they form groups.
ExitCode print_leaderboard(const std::string& directory, TableFormat format, bool members = false);
/// Prints how sure the leaderboard is, what losses are made of, the noise in the data and what choosing flatters.
ExitCode print_analysis(const std::string& directory, TableFormat format);
/// Writes a trial's newest committed parameters as a Hugging Face folder; of LoRA as a PEFT folder unless `merge`.
ExitCode export_trial(const std::string& directory, const std::string& trial, const std::string& out, bool merge);
/// What a person wants of an experiment: stop, resume, clone, set, pause, continue.
struct SteerRequest {
  std::string verb, directory, trial, reason;
  std::vector<std::pair<std::string, std::string>> set;  ///< PATH=VALUE, values as a config writes them
  bool warm = false;
};
/// Asks the process that trains the experiment, or queues the request for the next one. Prints when it takes effect.
ExitCode steer_experiment(const SteerRequest& request);
/// What somebody asks of a run whose search is driven from outside: a new trial, one trial further, or its end.
struct AskRequest {
  std::string directory, trial, reason;
  std::vector<std::pair<std::string, std::string>> set;  ///< PATH=VALUE, of what is searched
  std::uint32_t epochs = 0;                              ///< 0: all that the trial has
  bool finish = false;                                   ///< nothing more will be asked for
};
/// Asks the process that trains the experiment, and prints the trial's id and how far it will train.
/// Failure(interrupted) when no process trains it: ids are given out by one alone.
ExitCode ask_run(const AskRequest& request, TableFormat format);
struct TellRequest {
  std::string directory, trial;
  std::uint32_t epoch = 0;  ///< whose score is wanted; 0: of the last one that was asked for
  double wait_s = 0;        ///< at most, for that score or the trial's end
};
/// Prints a trial's state and scores, of a run that goes on or that stands still.
ExitCode tell_trial(const TellRequest& request, TableFormat format);
/// Prints trials, devices, tiers and operations, from the process that trains or from the journal.
ExitCode print_status(const std::string& directory, TableFormat format);
/// The same once a second until the run ends; on a terminal in place. `count` screens at most; 0: without a bound on a
/// terminal, else one.
ExitCode show_top(const std::string& directory, std::uint32_t count);

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
/// Cuts a data folder into partitions for several workers, and says what it wrote.
ExitCode partition_data(const PartitionRequest& request);
/// Prints what was found on this machine and what to do about what was not.
ExitCode print_doctor();

}  // namespace hopyard
