// `hopyard plan`, `hopyard leaderboard` and `hopyard export`: they train nothing.
#include <filesystem>
#include <iostream>

#include "report/json_fields.h"
#include "report/learning_curve.h"
#include "report/looks.h"
#include "report/plan_view.h"
#include "runtime/actions.h"
#include "runtime/machine.h"
#include "runtime/recorded_run.h"
#include "runtime/rigor_run.h"
#include "runtime/run_directory.h"
#include "runtime/run_objects.h"
#include "runtime/run_summary.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_record.h"
#include "runtime/steering_service.h"
#include "runtime/workbench.h"
#include "runtime/worker_record.h"

namespace hopyard {

namespace fs = std::filesystem;

namespace {

constexpr Bytes kNoLimit = ~Bytes{0};  // a run may have gone on with more than its config.yaml says

/// Of the disk where the run would spill. A plan needs no place that can be written.
DiskSpeed speed_of_disk() try {
  return probe_disk(fs::exists("runs") ? "runs" : ".").value_or(kAssumedDiskSpeed);
} catch (const Failure&) {
  return kAssumedDiskSpeed;
}

void print(const PlanView& view, TableFormat format) {
  refuse_csv(format, "a plan");
  if (format == TableFormat::json)
    std::cout << Json(view).dump(2) << '\n';
  else
    std::cout << format_plan(view);
}

/// Those at this row's trial, or its members, each with its place among all of the run.
void add_looks(Json& row, const std::vector<TestLook>& looks) {
  if (row.contains("members"))
    for (auto& member : row["members"]) add_looks(member, looks);
  if (!row.contains("trial")) return;
  row["looks"] = Json::array();
  for (std::size_t i = 0; i < looks.size(); ++i) {
    if (row.at("trial") != looks[i].trial) continue;
    Json look = looks[i];
    look["number"] = i + 1;
    row["looks"].push_back(std::move(look));
  }
}

}  // namespace

ExitCode print_plan(const std::string& target, const std::vector<std::pair<std::string, std::string>>& overrides,
                    TableFormat format) {
  if (fs::is_directory(target)) {
    const auto journal = journal_of(RunPaths(target));
    const auto plan = journal->fact("plan");
    if (!plan) fail(ExitCode::input, target, ": has no plan yet; the run ended before it was planned");
    PlanView view = parse_json(*plan, target + ": plan").get<PlanView>();
    if (const auto summary = journal->fact("summary"))
      view.comparisons = parse_json(*summary, target + ": summary").get<RunSummary>().comparisons;
    print(view, format);
    return ExitCode::done;
  }
  const ExperimentConfig config = parse_config(read_file(target, 1 << 20), target, overrides);
  const DiskSpeed speed = speed_of_disk();
  Workbench bench(config, speed.read_bytes_per_s, speed.write_bytes_per_s);
  print(bench.plan_all(), format);
  return ExitCode::done;
}

ExitCode print_leaderboard(const std::string& directory, TableFormat format, bool members) {
  const RunPaths paths(directory);
  ExperimentConfig config = recorded_config(paths);
  const auto journal = journal_of(paths);
  take_up_row_groups(config, *journal, paths.journal());
  const auto records = journal->trials();
  const auto rows = make_leaderboard(records, config.search);
  const auto looks = open_record(paths.journal(), true)->looks();
  const auto rigor = [&] { return rigor_of_run(paths, config, records, false); };
  if (format == TableFormat::json) {
    Json all = members ? Json(rows) : groups_json(rigor());
    for (auto& row : all) add_looks(row, looks);
    std::cout << dump_json(all, 2) << '\n';
    return ExitCode::done;
  }
  std::cout << (members ? format_leaderboard(rows, format) : format_groups(rigor(), format));
  if (format != TableFormat::table) return ExitCode::done;
  if (const std::string curves = format_learning_curves(rows); !curves.empty()) std::cout << '\n' << curves;
  std::cout << changes_in_journal(config, *journal);
  if (!looks.empty()) std::cout << '\n' << format_looks(looks);
  return ExitCode::done;
}

ExitCode export_trial(const std::string& directory, const std::string& id, const std::string& out, bool merge) {
  const RunPaths paths(directory);
  const ExperimentConfig config = recorded_config(paths);
  const auto journal = journal_of(paths);
  const auto records = journal->trials();
  const TrialRecord& record = find_trial(records, id, paths);
  if (!record.last)
    fail(ExitCode::usage, "--trial: '", id, "' has no committed state yet; run it for at least one sub-epoch");
  const auto lock = FileLock::try_acquire(paths.lock());
  if (!lock) fail(ExitCode::usage, directory, ": is in use by a run; export when it has ended");
  if (fs::exists(out) && !fs::is_empty(out)) fail(ExitCode::usage, "--out: ", out, " exists and is not empty");

  Workbench bench(config, kAssumedDiskSpeed.read_bytes_per_s, kAssumedDiskSpeed.write_bytes_per_s,
                  {.place = {0, recorded_workers(*journal, paths.journal())}});
  const TrialSetup setup = bench.describe(record.spec, record.spec.index);
  const StatePlace state = find_state(paths, *journal, record);
  const auto disk = open_rocks_disk_tier({state.disk_folder, kNoLimit});
  const auto read = [&](std::uint32_t layer, Part part, std::span<std::byte> bytes) {
    const auto blob = part == Part::own ? parameters_blob(layer) : frozen_blob(setup, layer);
    for (const auto& place : state.blobs)
      if (place.blob == blob) return disk->read(place.version, place.blob, 0, bytes);
    if (part == Part::shared) return setup.source->initialise(layer, part, setup.seed, bytes);
    fail(ExitCode::input, directory, ": nothing names the bytes of layer ", layer, " of ", id);
  };
  const std::string note = setup.source->export_to(out, read, merge ? ExportForm::merged : ExportForm::usual);
  const std::uint32_t inherited = record.spec.lineage ? record.spec.lineage->epochs : 0;
  const Epochs epochs = record.scores.empty() ? inherited : record.scores.back().epoch;
  std::cout << out << ": " << id << " after " << epochs << " epochs, digest " << record.last->digest << '\n';
  if (!note.empty()) std::cout << note << '\n';
  return ExitCode::done;
}

}  // namespace hopyard
