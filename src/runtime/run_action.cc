// `hopyard run`.
#include <csignal>
#include <filesystem>
#include <iostream>
#include <limits>

#include "base/clock.h"
#include "base/log.h"
#include "experiment/experiment.h"
#include "report/html_report.h"
#include "report/progress.h"
#include "report/trace_json.h"
#include "runtime/actions.h"
#include "runtime/machine.h"
#include "runtime/run_directory.h"
#include "runtime/run_summary.h"
#include "runtime/sqlite_journal.h"
#include "runtime/workbench.h"

namespace hopyard {

namespace {

std::atomic<bool> interrupted{false};

void on_signal(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);  // a second one ends the process at once
}

constexpr const char* kPartitionsFact = "partitions";

/// `data.partitions: auto` is decided by timing, once: other partitions would be another run.
void take_up_partitions(ExperimentConfig& config, const Journal& journal, const RunPaths& paths) {
  const auto decided = journal.fact(kPartitionsFact);
  if (config.data.partitions > 0 || !decided) return;
  const std::string where = paths.journal() + ": " + kPartitionsFact;
  config.data.partitions =
      static_cast<std::uint32_t>(json_get<std::uint64_t>(parse_json(*decided, where), "count", where));
}

std::string resources_json(const ExperimentConfig& config) { return Json(resources_text(config)).dump(); }

/// A run keeps its record under this name, which may not be a user's own file.
void refuse_own_config(const std::string& config_file, const RunPaths& paths) {
  std::error_code ignored;
  if (std::filesystem::equivalent(config_file, paths.config(), ignored) && !std::filesystem::exists(paths.journal()))
    fail(ExitCode::usage, "--dir: the run would take ", config_file,
         " for its own record; give the config another name or choose another directory");
}

/// All objects of a run, in the order in which they depend on each other.
class Run {
 public:
  Run(const ExperimentConfig& config, RunDirectory directory)
      : directory_(std::move(directory)),
        image_bytes_(process_bytes()),
        journal_(open_journal(directory_.paths().journal(), false)),
        view_(std::cout, [] { return terminal_size(1); }) {
    disk_ = open_rocks_disk_tier({claim_disk_folder(directory_.paths(), config, *journal_), config.disk_capacity});
    forget_uncommitted(*journal_, *disk_);
    shared_ = std::make_unique<SharedVersions>(*disk_);
    const DiskSpeed speed = measure_disk(*disk_).value_or(kAssumedDiskSpeed);
    bench_ = std::make_unique<Workbench>(config, speed.read_bytes_per_s, speed.write_bytes_per_s);
    view_.event("planning: measuring each kind of layer once");
    plan_ = bench_->plan_all(visits_done());
    if (!journal_->fact(kPartitionsFact))
      journal_->put_fact(kPartitionsFact, Json{{"count", bench_->partitions().count()}}.dump());
    if (!journal_->fact("plan")) journal_->put_fact("plan", Json(plan_).dump());
    check_fingerprint();
    host_ = std::make_unique<HostTier>(config.host_memory);
    reserve_for_engine();
    pool_ = std::make_unique<IoPool>(kIoThreads);
    frozen_ = std::make_unique<FrozenStore>(*host_);
    executor_ = std::make_unique<Executor>(config.execute, config.seed, make_devices(), *host_, &trace_);
  }

  ExitCode go() {
    const ExperimentConfig& config = bench_->config();
    const auto searcher = make_searcher(config.search, config.space, config.seed);
    started_s_ = monotonic_seconds();
    ExperimentEnd end;
    {
      Experiment experiment(
          {*searcher, *journal_, *executor_, *host_, *shared_, *pool_, *frozen_, bench_->partitions(),
           config.search.metric, config.execute.active_trials, orders_max(config.search), resources_json(config),
           [this](const TrialSpec& spec, std::uint32_t number) { return bench_->resolve(spec, number); },
           [this](const std::string& line) { view_.event(line); }, [&] { view_.show(snapshot(experiment_status_())); },
           interrupted});
      experiment_status_ = [&experiment] { return experiment.status(); };
      end = experiment.run();
      if (end == ExperimentEnd::interrupted) executor_->stop();
      wall_s_ = monotonic_seconds() - started_s_;
      devices_ = executor_->devices();
      materialised_ = experiment.materialiser().depths();
      experiment_status_ = nullptr;
    }
    executor_.reset();
    view_.clear();
    return report(end);
  }

 private:
  /// Of each trial that the journal knows; all that there can be of one that has ended.
  std::map<std::string, std::uint32_t> visits_done() const {
    std::map<std::string, std::uint32_t> done;
    for (const auto& record : journal_->trials()) {
      if (record.state > TrialState::active)
        done[record.spec.id] = std::numeric_limits<std::uint32_t>::max();
      else if (record.last)
        done[record.spec.id] = record.last->epoch * bench_->config().data.partitions + record.last->visit + 1;
    }
    return done;
  }

  /// What bits depend on beside the config: a run that goes on elsewhere may end with other digests.
  void check_fingerprint() {
    const MachineFacts facts = machine_facts();
    Json threads = Json::array();
    for (const auto& device : bench_->config().devices) threads.push_back(device.threads);
    const std::string now =
        Json{{"libtorch", facts.libtorch}, {"cpu_capability", facts.cpu_capability}, {"threads", threads}}.dump();
    const auto before = journal_->fact("fingerprint");
    if (!before) return journal_->put_fact("fingerprint", now);
    if (*before != now)
      HOPYARD_WARN << "this run began under " << *before << " and goes on under " << now
                   << ": its digests may differ from those of an undisturbed run";
  }

  std::uint32_t orders_max(const SearchSpec& search) const {
    constexpr std::uint32_t kOrdersPerDevice = 2;  // so that one computes while another moves
    if (search.max_concurrent_trials > 0) return search.max_concurrent_trials;
    if (search.deterministic) return kCanonicalConcurrency;
    return kOrdersPerDevice * bench_->planner().device_count();
  }

  void reserve_for_engine() {
    auto staging = host_->reserve(bench_->planner().inputs().staging);
    if (!staging)
      fail(ExitCode::capacity, "resources.host_memory: ", host_->capacity(),
           " bytes are granted and disk work alone holds ", bench_->planner().inputs().staging);
    staging_ = std::move(*staging);
    for (const auto& device : bench_->config().devices) {
      if (device.type != DeviceSpec::Type::cpu) continue;
      auto workspace = host_->reserve(device.count * bench_->planner().cpu_workspace());
      if (!workspace)
        fail(ExitCode::capacity, "resources.host_memory: computing on ", device.count, " cpu devices takes ",
             device.count * bench_->planner().cpu_workspace(), " bytes and ", host_->capacity() - host_->used(),
             " are left; raise it or lower train.micro_batch_size");
      workspace_.push_back(std::move(*workspace));
    }
  }

  std::vector<std::unique_ptr<Device>> make_devices() {
    std::vector<std::unique_ptr<Device>> devices;
    std::uint32_t cpus = 0, emulated = 0;
    for (const auto& spec : bench_->config().devices)
      for (std::uint32_t i = 0; i < spec.count; ++i)
        devices.push_back(spec.type == DeviceSpec::Type::cpu
                              ? make_cpu_device(spec, cpus++, bench_->planner().cpu_workspace())
                              : make_emulated_device(spec, emulated++, &trace_));
    return devices;
  }

  ProgressSnapshot snapshot(const std::vector<TrialStatus>& trials);
  ExitCode report(ExperimentEnd end);

  RunDirectory directory_;
  Bytes image_bytes_;
  TraceRecorder trace_;
  std::unique_ptr<Journal> journal_;
  ProgressView view_;
  std::unique_ptr<DiskTier> disk_;
  std::unique_ptr<SharedVersions> shared_;  // over disk_
  std::unique_ptr<Workbench> bench_;
  PlanView plan_;
  std::unique_ptr<HostTier> host_;
  HostReservation staging_;
  std::vector<HostReservation> workspace_;
  std::unique_ptr<IoPool> pool_;
  std::unique_ptr<FrozenStore> frozen_;
  std::unique_ptr<Executor> executor_;
  std::function<std::vector<TrialStatus>()> experiment_status_;
  std::vector<DeviceReport> devices_;
  std::vector<std::pair<double, double>> busy_before_;  // of each device: when, busy until then
  double started_s_ = 0, wall_s_ = 0;
  std::vector<MaterialisedDepth> materialised_;
};

ProgressSnapshot Run::snapshot(const std::vector<TrialStatus>& trials) {
  ProgressSnapshot snapshot;
  snapshot.elapsed_s = monotonic_seconds() - started_s_;
  double done_s = 0, all_s = 0;
  for (const auto& trial : trials) {
    TrialProgress row;
    row.id = trial.spec.id;
    row.settings = settings_text(trial.spec.settings);
    row.state = trial.state;
    row.epochs = trial.epochs;
    row.visits = trial.visits_per_epoch;
    const std::uint32_t visits = std::max(1u, trial.epochs * trial.visits_per_epoch);
    const std::uint32_t present = std::min(trial.visits_done, visits - 1);
    row.epoch = present / trial.visits_per_epoch + 1;
    row.visit = present % trial.visits_per_epoch + 1;
    row.fraction = trial.state == TrialState::finished ? 1 : (trial.visits_done + trial.visit_fraction) / visits;
    row.loss = trial.loss;
    row.metric = trial.metric;
    const bool ended = trial.state > TrialState::active;
    done_s += (ended ? 1 : row.fraction) * trial.predicted_s;
    all_s += trial.predicted_s;
    snapshot.trials.push_back(std::move(row));
  }
  if (done_s > 0.01 * all_s) {
    const double pace = snapshot.elapsed_s / done_s;  // wall seconds for a predicted second of device time
    snapshot.eta_s = pace * (all_s - done_s);
    for (std::size_t i = 0; i < trials.size(); ++i)
      if (trials[i].state == TrialState::active) snapshot.trials[i].eta_s = *snapshot.eta_s;
  }
  Bytes device_used = 0, device_budget = 0;
  const auto devices = executor_->devices();
  busy_before_.resize(devices.size());
  for (std::size_t i = 0; i < devices.size(); ++i) {
    auto& [when, busy] = busy_before_[i];
    const double span = snapshot.elapsed_s - when;
    snapshot.devices.push_back(
        {devices[i].name, span > 0 ? std::clamp((devices[i].busy_s - busy) / span, 0.0, 1.0) : 0, devices[i].task});
    if (span > 5) when = snapshot.elapsed_s, busy = devices[i].busy_s;
    device_used += devices[i].memory_used;
    device_budget += devices[i].memory_budget;
  }
  snapshot.tiers = {{"device", device_used, device_budget},
                    {"host", host_->used(), host_->capacity()},
                    {"disk", disk_->used(), disk_->capacity()}};
  return snapshot;
}

ExitCode Run::report(ExperimentEnd end) {
  const auto records = journal_->trials();
  const auto rows = make_leaderboard(records, bench_->config().search);
  const RunSummary summary =
      make_summary({bench_->config(), plan_, devices_, *host_, *disk_, wall_s_, materialised_, records, image_bytes_});
  if (end == ExperimentEnd::finished) {
    journal_->put_fact("summary", Json(summary).dump());
    journal_->put_fact("finished", "true");
  }
  std::cout << '\n' << format_leaderboard(rows, TableFormat::table) << '\n' << format_summary(summary);
  const ReportInput input{summary, rows, records, trace_.tracks(), trace_.slices(), trace_.dropped()};
  write_file_atomically(directory_.paths().report(), html_report(input));
  write_file_atomically(directory_.paths().timeline(), timeline_svg(input));
  write_trace_file(directory_.paths().trace(), trace_);
  std::cout << "\nreport: " << directory_.paths().report() << "\ntrace:  " << directory_.paths().trace() << '\n';
  if (end == ExperimentEnd::interrupted) {
    std::cout << "\nInterrupted. Committed work is kept; the same command goes on from there.\n";
    return ExitCode::interrupted;
  }
  const auto came_through = [](const auto& record) {
    return record.state == TrialState::finished || record.state == TrialState::stopped;
  };
  if (records.empty() || std::any_of(records.begin(), records.end(), came_through)) return ExitCode::done;
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
    take_up_partitions(effective, *journal, directory.paths());
    if (journal->fact("finished") && !has_work(*journal, resources_json(config))) {
      std::cout << where << ": finished; its leaderboard (--fresh starts anew):\n\n";
      return print_leaderboard(where, TableFormat::table);
    }
    if (!journal->trials().empty()) std::cout << "going on with " << where << '\n';
  }
  interrupted = false;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  Run run(effective, std::move(directory));
  return run.go();
}

}  // namespace hopyard
