// `hopyard test`: a trial judged on rows that no decision has seen, and the record that somebody looked.
#include <filesystem>
#include <iostream>

#include "report/html_report.h"
#include "report/looks.h"
#include "report/rigor_report.h"
#include "runtime/actions.h"
#include "runtime/config_sections.h"
#include "runtime/machine.h"
#include "runtime/recorded_run.h"
#include "runtime/run_objects.h"
#include "runtime/sqlite_record.h"
#include "runtime/worker_record.h"

namespace hopyard {

namespace {

constexpr double kWaitSeconds = 0.1;
constexpr std::size_t kReportBytesMax = std::size_t{1} << 30;
constexpr const char* kTestKey = "data.test";

/// --set takes away data.test, which a run may do without until somebody looks.
std::string test_folder(const RecordedRun& recorded, const Overrides& overrides) {
  std::string folder = recorded.config.data.test;
  for (const auto& [path, value] : overrides)
    if (path == kTestKey) folder = value;
  if (folder.empty())
    fail(ExitCode::usage, recorded.paths.root, ": its config names no ", kTestKey,
         "; say where the test rows are with "
         "--set ",
         kTestKey, "=FOLDER");
  return folder;
}

Overrides without_test_folder(const Overrides& overrides) {
  Overrides others;
  for (const auto& one : overrides)
    if (one.first != kTestKey) others.push_back(one);
  return others;
}

const TrialRecord& chosen_trial(const RecordedRun& recorded, const std::string& wanted) {
  std::string id = wanted;
  if (id.empty()) {
    const auto groups = make_groups(recorded.trials, recorded.config.search);
    if (groups.empty() || groups.front().rank == 0)
      fail(ExitCode::usage, recorded.paths.root, ": no trial has a score yet; name one with --trial");
    id = groups.front().members.front().trial;  // of a group the first, since choosing the best would flatter
  }
  const TrialRecord& record = find_trial(recorded.trials, id, recorded.paths);
  if (!record.last)
    fail(ExitCode::usage, "--trial: '", id, "' has no committed state yet; run it for at least one sub-epoch");
  return record;
}

/// Judges the committed state on the rows that stand in the setup's validation set. Nothing when interrupted.
std::optional<MetricSums> evaluate(RunObjects& objects, const TrialSetup& setup, const VisitCommit& last,
                                   const std::vector<BlobVersion>& state, const std::atomic<bool>& interrupted) {
  auto grant = grant_trial(setup, *objects.host, *objects.frozen);
  if (!grant)
    fail(ExitCode::capacity, "resources.host_memory: ", setup.id, " does not fit into ", objects.host->capacity(),
         " bytes; raise it with --set resources.host_memory=SIZE");
  const auto run = std::make_shared<TrialRun>(setup, std::move(*grant), *objects.shared, *objects.pool,
                                              [&executor = *objects.executor] { executor.wake(); });
  run->restore(state);
  Visit visit;
  visit.epoch = last.epoch;
  visit.index = last.visit;
  visit.partition = last.partition;
  visit.first_step = last.steps;
  visit.evaluate = true;
  objects.executor->start_visit(run, std::move(visit));
  while (!interrupted)
    if (const auto result = objects.executor->wait_finished(kWaitSeconds)) {
      if (result->error) std::rethrow_exception(result->error);
      require(!result->judged.empty(), setup.id, ": its evaluation judged nothing");
      return add_up(result->judged).sums;
    }
  objects.executor->stop();
  return std::nullopt;
}

std::vector<std::pair<std::string, double>> test_metrics(const MetricSums& sums, ModelTask task) {
  std::vector<std::pair<std::string, double>> metrics;
  for (const auto& name : metrics_of(task))
    metrics.emplace_back("test" + name.substr(name.find('/')), ModelSource::metric(sums, name));
  return metrics;
}

/// Its bytes in the disk tier of the run directory.
std::vector<BlobVersion> state_here(const RecordedRun& recorded, const TrialRecord& record) {
  StatePlace place = find_state(recorded.paths, *recorded.journal, record);
  if (place.disk_folder != claimed_disk_folder(recorded.paths, *recorded.journal))
    fail(ExitCode::usage, "--trial: the state of ", record.spec.id, " lies with another worker, in ", place.disk_folder,
         "; let the run come to its end, or export the trial");
  return std::move(place.blobs);
}

/// Which of its rows, for a trial that is of one group.
std::string of_group(const TrialSpec& spec, const ExperimentConfig& config) {
  if (!spec.replicate || !spec.replicate->row_group) return "";
  return text::cat(" whose ", config.data.group_by, " is ", *spec.replicate->row_group);
}

void show_in_report(const RunPaths& paths, const std::vector<TestLook>& looks) {
  if (!std::filesystem::exists(paths.report())) return;
  write_file_atomically(paths.report(), with_looks(read_file(paths.report(), kReportBytesMax), looks));
}

}  // namespace

ExitCode test_trial(const TestRequest& request) {
  const RecordedRun recorded(request.directory, without_test_folder(request.overrides));
  const std::string folder = test_folder(recorded, request.overrides);
  const TrialRecord& record = chosen_trial(recorded, request.trial);
  const std::atomic<bool>& interrupted = catch_interrupts();
  const auto state = state_here(recorded, record);
  RunObjects objects(recorded.config, RunDirectory::open(recorded_config(recorded.paths), request.directory, false),
                     std::vector{record.spec}, {0, recorded_workers(*recorded.journal, recorded.paths.journal())});
  TrialSetup setup = objects.bench->resolve(record.spec, 0);
  objects.bench->judge_on_test(record.spec, setup, folder);
  objects.make_engine();

  const std::uint32_t per_epoch = recorded.config.data.partitions;
  const auto epochs =
      Epochs::of_visits(std::uint64_t{record.last->epoch} * per_epoch + record.last->visit + 1, per_epoch);
  TestLook look{record.spec.id, epochs, record.last->digest, signature_of_user(), request.reason, {}};
  const auto record_of_looks = open_record(recorded.paths.journal(), false);
  const std::uint32_t number = record_of_looks->add_look(look);  // before anything is seen
  const auto sums = evaluate(objects, setup, *record.last, state, interrupted);
  if (!sums) {
    std::cout << "Interrupted: the look is recorded without a result.\n";
    return ExitCode::interrupted;
  }
  record_of_looks->finish_look(number, test_metrics(*sums, setup.source->spec().task));
  const auto looks = record_of_looks->looks();
  show_in_report(recorded.paths, looks);
  std::cout << record.spec.id << " after epoch " << look.epochs << ", on the " << judged_rows(setup) << " test rows of "
            << folder << of_group(record.spec, recorded.config) << ":\n"
            << format_looks(looks);
  return ExitCode::done;
}

}  // namespace hopyard
