// `hopyard run`.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "runtime/actions.h"
#include "runtime/experiment_run.h"
#include "runtime/recorded_run.h"
#include "runtime/request_channel.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_record.h"
#include "runtime/training_data.h"
#include "runtime/worker_action.h"
#include "runtime/worker_record.h"

namespace hopyard {

namespace {

namespace fs = std::filesystem;

/// A run keeps its record under this name, which may not be a user's own file.
void refuse_own_config(const std::string& config_file, const RunPaths& paths) {
  std::error_code ignored;
  if (fs::equivalent(config_file, paths.config(), ignored) && !fs::exists(paths.journal()))
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

/// The run that this one repeats, by the request or by what the directory began as.
std::optional<RecordedRun> run_to_replay(const RunRequest& request, const ExperimentConfig& config,
                                         const RunPaths& paths, Journal& journal) {
  if (journal.fact(kReproducesFact))
    fail(ExitCode::usage, paths.root,
         ": holds one trial trained again; `hopyard reproduce` goes on with it, and a run "
         "needs another --dir");
  const auto known = journal.fact(kReplaysFact);
  if (request.replay.empty() && !known) return std::nullopt;
  const std::string where = paths.journal() + ": " + kReplaysFact;
  const std::string old = known ? json_get<std::string>(parse_json(*known, where), "directory", where)
                                : fs::weakly_canonical(request.replay).string();
  if (!request.replay.empty() && old != fs::weakly_canonical(request.replay).string())
    fail(ExitCode::usage, "--replay: ", paths.root, " already repeats ", old, "; choose another --dir");
  if (old == fs::weakly_canonical(paths.root).string())
    fail(ExitCode::usage, "--replay: ", old, " cannot be repeated in its own directory; choose another --dir");
  RecordedRun recorded(old);
  if (!known && !journal.trials().empty())
    fail(ExitCode::usage, "--replay: ", paths.root, " holds a run that began by itself; choose another --dir");
  if (config_digest(recorded_config(recorded.paths)) != config_digest(config))
    fail(ExitCode::usage, "--replay: ", old, " belongs to another config (see ", recorded.paths.config(),
         "); only name, resources, execute and workers may differ");
  if (!recorded.journal->fact("finished"))
    fail(ExitCode::usage, "--replay: ", old, " has not ended; let it come to its end first");
  if (!known) repeat_orders(recorded, journal);
  if (!known) repeat_operations(recorded, journal);
  if (!known) journal.put_fact(kReplaysFact, Json{{"directory", old}}.dump());
  return recorded;
}

/// Where the repeated run differs from the recorded one; ExitCode::internal if it does.
ExitCode print_divergence(const RecordedRun& recorded, const RunPaths& paths) {
  std::size_t visits = 0, differing = 0;
  const auto again = open_journal(paths.journal(), true)->trials();
  const auto record = open_record(paths.journal(), true);
  for (const auto& trial : recorded.trials) {
    const TrialComparison comparison = compare_trial(recorded, trial, *record, again, true);
    visits += comparison.visits;
    if (!comparison.difference) continue;
    ++differing;
    std::cout << comparison.trial << " differs: " << *comparison.difference << '\n';
  }
  std::cout << "repeated " << recorded.paths.root << ": ";
  if (differing > 0) {
    std::cout << differing << " of " << recorded.trials.size() << " trials differ\n";
    return ExitCode::internal;
  }
  std::cout << "the same bits after each of " << visits << " sub-epochs of " << recorded.trials.size() << " trials\n";
  return ExitCode::done;
}

ExitCode train(const ExperimentConfig& config, RunDirectory directory, const std::optional<RecordedRun>& recorded,
               const Coordinator* workers) {
  const std::atomic<bool>& interrupted = catch_interrupts();
  if (recorded && !recorded->fingerprint.empty() && recorded->fingerprint != fingerprint_of(config))
    std::cout << "recorded under " << recorded->fingerprint << ", repeated under " << fingerprint_of(config)
              << ": digests may differ for that alone\n";
  ExperimentRun run(config, std::move(directory), std::nullopt, workers);
  const auto searcher = recorded && reacts_to_scores(config.search.method)
                            ? make_replay_searcher(recorded_steps(*recorded), "the record goes no further")
                            : make_searcher(run.config().search, config.space, config.seed);
  const ExperimentEnd end = run.train(*searcher, interrupted);
  run.report(end);
  if (end == ExperimentEnd::interrupted) return print_interrupted();
  return recorded ? print_divergence(*recorded, run.paths()) : came_through(run.journal().trials());
}

/// Before anything is planned, so that the others can come in meanwhile.
Coordinator open_experiment(const ExperimentConfig& config, const LaunchSpec& launch, const RunPaths& paths,
                            Journal& journal) {
  claim_workers(journal, paths, launch.world_size);
  check_states_stay(journal, paths, launch.world_size);
  Coordinator workers{WorkerSession(config, launch, paths), nullptr};
  workers.end = open_coordinator(workers.session, journal, paths);
  return workers;
}

}  // namespace

ExitCode run_experiment(const RunRequest& request) {
  ExperimentConfig config =
      parse_config(read_file(request.config_file, 1 << 20), request.config_file, request.overrides);
  const std::string where = request.directory.empty() ? "runs/" + config.name : request.directory;
  const LaunchSpec launch = read_launch();
  if (launch.rank > 0) return run_worker(request, config, where, launch);
  refuse_own_config(request.config_file, RunPaths(where));
  RunDirectory directory = RunDirectory::open(config, where, request.fresh && launch.restarts == 0);
  if (directory.moved_to()) std::cout << "moved the run that was there to " << *directory.moved_to() << '\n';
  std::optional<RecordedRun> recorded;
  std::optional<Coordinator> workers;
  {
    const auto journal = open_journal(directory.paths().journal(), false);
    recorded = run_to_replay(request, config, directory.paths(), *journal);
    if (recorded) keep_partitions(*journal, recorded->config.data.partitions);
    take_up_partitions(config, *journal, directory.paths().journal());
    const bool asked = !queued_requests(where).empty();
    if (!asked && is_finished(*journal, config)) {
      std::cout << where << ": finished; its leaderboard (--fresh starts anew):\n\n";
      const ExitCode printed = print_leaderboard(where, TableFormat::table);
      return recorded ? print_divergence(*recorded, directory.paths()) : printed;
    }
    if (!journal->trials().empty()) std::cout << "going on with " << where << '\n';
    check_workers(config, launch.world_size);  // a number that is refused is not the run's
    if (launch.world_size > 1) workers = open_experiment(config, launch, directory.paths(), *journal);
  }
  try {
    return train(config, std::move(directory), recorded, workers ? &*workers : nullptr);
  } catch (const Failure& failure) {
    const bool its_own = failure.code() == ExitCode::input || failure.code() == ExitCode::capacity;
    if (!workers || !its_own) throw;
    fail_as_worker(0, failure);
  }
}

}  // namespace hopyard
