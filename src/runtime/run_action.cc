// `hopyard run`.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "runtime/actions.h"
#include "runtime/experiment_run.h"
#include "runtime/request_channel.h"
#include "runtime/sqlite_journal.h"

namespace hopyard {

namespace {

/// A run keeps its record under this name, which may not be a user's own file.
void refuse_own_config(const std::string& config_file, const RunPaths& paths) {
  std::error_code ignored;
  if (std::filesystem::equivalent(config_file, paths.config(), ignored) && !std::filesystem::exists(paths.journal()))
    fail(ExitCode::usage, "--dir: the run would take ", config_file,
         " for its own record; give the config another name or choose another directory");
}

ExitCode came_through(const std::vector<TrialRecord>& records) {
  const auto has_result = [](const auto& record) {
    return record.state == TrialState::finished || record.state == TrialState::stopped;
  };
  if (records.empty() || std::any_of(records.begin(), records.end(), has_result)) return ExitCode::done;
  fail(ExitCode::internal, "every trial failed; the first said: ", records.front().reason);
}

}  // namespace

ExitCode run_experiment(const RunRequest& request) {
  const ExperimentConfig config =
      parse_config(read_file(request.config_file, 1 << 20), request.config_file, request.overrides);
  const std::string where = request.directory.empty() ? "runs/" + config.name : request.directory;
  refuse_own_config(request.config_file, RunPaths(where));
  RunDirectory directory = RunDirectory::open(config, where, request.fresh);
  if (directory.moved_to()) std::cout << "moved the run that was there to " << *directory.moved_to() << '\n';
  ExperimentConfig effective = config;
  {
    const auto journal = open_journal(directory.paths().journal(), false);
    take_up_partitions(effective, *journal, directory.paths().journal());
    const bool asked = !queued_requests(where).empty();
    if (!asked && journal->fact("finished") && !has_work(*journal, resources_json(config))) {
      std::cout << where << ": finished; its leaderboard (--fresh starts anew):\n\n";
      return print_leaderboard(where, TableFormat::table);
    }
    if (!journal->trials().empty()) std::cout << "going on with " << where << '\n';
  }
  const std::atomic<bool>& interrupted = catch_interrupts();
  ExperimentRun run(effective, std::move(directory));
  const auto searcher = make_searcher(effective.search, effective.space, effective.seed);
  const ExperimentEnd end = run.train(*searcher, interrupted);
  run.report(end);
  return end == ExperimentEnd::interrupted ? print_interrupted() : came_through(run.journal().trials());
}

}  // namespace hopyard
