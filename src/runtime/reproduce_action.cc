// `hopyard reproduce`: one trial trained again, alone, and compared bit by bit with what was recorded.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "report/json_fields.h"
#include "report/table.h"
#include "runtime/actions.h"
#include "runtime/experiment_run.h"
#include "runtime/recorded_run.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_record.h"

namespace hopyard {

namespace {

std::string default_directory(const std::string& directory, const std::string& trial) {
  std::string name = directory;
  while (name.size() > 1 && name.ends_with('/')) name.pop_back();
  return text::cat(name, "-again-", trial);
}

/// What a reproduction is of; a directory that is none, or of another trial, is refused.
void claim(Journal& journal, const RunPaths& paths, const RecordedRun& recorded, const TrialOrder& order) {
  const std::string claimed = Json{
      {"directory", std::filesystem::weakly_canonical(recorded.paths.root).string()},
      {"trial", order.trial.id},
      {"until_epoch", order.until_epoch.value_or(
                          0)}}.dump();
  const auto known = journal.fact(kReproducesFact);
  if (known == claimed) return;
  if (known || !journal.trials().empty())
    fail(ExitCode::usage, "--dir: ", paths.root, " holds ", known ? "another reproduction" : "a run of its own",
         "; choose another directory, or --fresh to move it aside");
  journal.put_fact(kReproducesFact, claimed);
}

std::vector<TrialSpec> trials_of(const std::vector<ReplayStep>& steps) {
  std::vector<TrialSpec> trials;
  for (const auto& step : steps) trials.push_back(step.order.trial);
  return trials;
}

ExperimentEnd train_again(const RecordedRun& recorded, const std::vector<ReplayStep>& steps, RunDirectory directory) {
  const std::atomic<bool>& interrupted = catch_interrupts();
  ExperimentConfig config = recorded.config;
  config.search.method = SearchSpec::Method::grid;  // for forecasts: these trials and no others
  ExperimentRun run(config, std::move(directory), trials_of(steps));
  const auto searcher = make_replay_searcher(steps, "the record goes no further");
  const ExperimentEnd end = run.train(*searcher, interrupted);
  run.report(end);
  return end;
}

void print_epochs(const RecordedRun& recorded, const std::vector<TrialRecord>& again,
                  const std::vector<ReplayStep>& steps) {
  Table table({{"trial"}, {"epoch", Align::right}, {"recorded"}, {"again"}, {""}});
  for (const auto& record : again) {
    const TrialRecord& before = find_trial(recorded.trials, record.spec.id, recorded.paths);
    for (const auto& score : record.scores)
      for (const auto& known : before.scores)
        if (known.epoch == score.epoch)
          table.add_row({record.spec.id, to_string(score.epoch), known.digest, score.digest,
                         known.digest == score.digest ? "same" : "DIFFERS"});
  }
  std::cout << '\n' << table.to_text();
  for (const auto& step : steps)
    if (step.order.trial.lineage)
      std::cout << step.order.trial.id << " begins where " << step.order.trial.lineage->parent << " was after epoch "
                << step.order.trial.lineage->epochs << '\n';
}

ExitCode print_comparison(const RecordedRun& recorded, const RunPaths& again, const std::vector<ReplayStep>& steps) {
  const auto trials = open_journal(again.journal(), true)->trials();
  const auto visits = open_record(again.journal(), true);
  print_epochs(recorded, trials, steps);
  std::size_t compared = 0;
  std::string digest;
  for (const auto& step : steps) {
    const TrialRecord& record = find_trial(recorded.trials, step.order.trial.id, recorded.paths);
    const bool whole = &step == &steps.back();
    const TrialComparison comparison = compare_trial(recorded, record, *visits, trials, whole);
    if (comparison.difference) {
      std::cout << comparison.trial << " differs: " << *comparison.difference << '\n';
      return ExitCode::internal;
    }
    compared += comparison.visits;
    digest = comparison.digest;
  }
  std::cout << steps.back().order.trial.id << " is reproduced: the same bits after each of " << compared
            << " sub-epochs, digest " << digest << '\n';
  return ExitCode::done;
}

}  // namespace

ExitCode reproduce_trial(const ReproduceRequest& request) {
  const RecordedRun recorded(request.directory, request.overrides);
  const TrialRecord& trial = find_trial(recorded.trials, request.trial, recorded.paths);
  const auto steps = steps_to(recorded, trial);
  const std::string where = request.out.empty() ? default_directory(request.directory, request.trial) : request.out;
  RunDirectory directory = RunDirectory::open(recorded_config(recorded.paths), where, request.fresh);
  const RunPaths paths = directory.paths();
  bool finished = false;
  {
    const auto journal = open_journal(paths.journal(), false);
    claim(*journal, paths, recorded, steps.back().order);
    keep_partitions(*journal, recorded.config.data.partitions);
    repeat_settings(recorded, steps, *journal);
    repeat_orders(recorded, *journal);
    finished = journal->fact("finished").has_value();
  }
  if (const std::string here = fingerprint_of(recorded.config); here != recorded.fingerprint)
    std::cout << "recorded under " << recorded.fingerprint << ", trained again under " << here
              << ": digests may differ for that alone\n";
  if (!finished && train_again(recorded, steps, std::move(directory)) == ExperimentEnd::interrupted)
    return print_interrupted();
  return print_comparison(recorded, paths, steps);
}

}  // namespace hopyard
