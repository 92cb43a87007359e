#include "runtime/experiment_run.h"

#include <iostream>
#include <limits>

#include "base/clock.h"
#include "base/log.h"
#include "experiment/local_trainer.h"
#include "report/html_report.h"
#include "report/learning_curve.h"
#include "report/trace_json.h"
#include "runtime/machine.h"
#include "runtime/predictions.h"
#include "runtime/rigor_run.h"
#include "runtime/run_summary.h"
#include "runtime/sqlite_record.h"
#include "runtime/steering_service.h"

namespace hopyard {

ExperimentRun::ExperimentRun(const ExperimentConfig& config, RunDirectory directory,
                             std::optional<std::vector<TrialSpec>> trials, const Coordinator* workers)
    : image_bytes_(process_bytes()),
      workers_(workers),
      objects_(config, std::move(directory), std::move(trials),
               workers != nullptr ? workers->session.place() : WorkerPlace{}),
      view_(std::cout, [] { return terminal_size(1); }) {
  view_.event("planning: measuring each kind of layer once");
  plan_ = objects_.bench->plan_all(visits_done());
  if (const auto warning = disk_warning(plan_)) view_.event("warning: " + *warning);
  keep_partitions(journal(), objects_.bench->partitions());
  keep_row_groups(journal(), objects_.bench->config().search.row_groups, paths().root);
  keep_rotations(journal(), objects_.bench->rotations());
  if (!journal().fact("plan")) journal().put_fact("plan", Json(plan_).dump());
  check_fingerprint();
  objects_.make_engine();
}

ExperimentEnd ExperimentRun::train(Searcher& searcher, const std::atomic<bool>& interrupted, ChannelHandlers more) {
  started_s_ = monotonic_seconds();
  const ExperimentEnd end =
      workers_ != nullptr ? train_on_workers(searcher, interrupted, more) : train_here(searcher, interrupted, more);
  objects_.executor.reset();
  view_.clear();
  return end;
}

ExperimentEnd ExperimentRun::train_here(Searcher& searcher, const std::atomic<bool>& interrupted,
                                        ChannelHandlers& more) {
  const ExperimentConfig& config = objects_.bench->config();
  LocalTrainer trainer(
      {*objects_.executor, *objects_.host, *objects_.shared, *objects_.pool, *objects_.frozen, config.search.metric,
       config.execute.active_trials, [this](const std::string& line) { view_.event(line); },
       [this](const TrialScore& score, const RowOutcomes& rows) { keep_predictions(paths().trials(), score, rows); }});
  const ExperimentEnd end = loop(searcher, trainer, interrupted, more);
  if (end == ExperimentEnd::interrupted) objects_.executor->stop();
  devices_ = objects_.executor->devices();
  materialised_ = trainer.materialiser().depths();
  return end;
}

ExperimentEnd ExperimentRun::train_on_workers(Searcher& searcher, const std::atomic<bool>& interrupted,
                                              ChannelHandlers& more) {
  ExperimentEnd end;
  {
    HoppingRun hopping({workers_->session, *workers_->end, objects_, plan_,
                        [this](const TrialSpec& spec, std::uint32_t number) { return resolve(spec, number); },
                        [this](const std::string& line) { view_.event(line); },
                        [this](const TrialScore& score, const RowOutcomes& rows) {
                          keep_predictions(paths().trials(), score, rows);
                        }});
    hopping_trainer_ = &hopping.trainer();
    end = loop(searcher, hopping.trainer(), interrupted, more);
    hopping_trainer_ = nullptr;
    hopping_ = hopping.trainer().report();
  }
  devices_ = devices_of_workers(*hopping_, wall_s_);
  return end;
}

ExperimentEnd ExperimentRun::loop(Searcher& searcher, VisitTrainer& trainer, const std::atomic<bool>& interrupted,
                                  ChannelHandlers& more) {
  const ExperimentConfig& config = objects_.bench->config();
  const Experiment* running = nullptr;
  RequestChannel channel(paths().root, [&trainer] { trainer.nudge(); });
  Experiment experiment(
      {searcher, journal(), trainer, objects_.bench->partitions(), config.search.metric, orders_max(config.search),
       resources_json(config), [this](const TrialSpec& spec, std::uint32_t number) { return resolve(spec, number); },
       [this](const std::string& line) { view_.event(line); }, [&] { view_.show(snapshot(*running)); }, interrupted,
       config.seed, [&](Experiment&) { serve(channel, more); }});
  running = &experiment;
  add_handlers(experiment, more);
  const ExperimentEnd end = experiment.run();
  wall_s_ = monotonic_seconds() - started_s_;
  return end;
}

TrialSetup ExperimentRun::resolve(const TrialSpec& spec, std::uint32_t number) {
  const std::lock_guard lock(resolving_);
  if (objects_.bench->rotate(spec)) keep_rotations(journal(), objects_.bench->rotations());
  return objects_.bench->resolve(spec, number);
}

std::map<std::string, std::uint32_t> ExperimentRun::visits_done() const {
  std::map<std::string, std::uint32_t> done;
  for (const auto& record : objects_.journal->trials()) {
    if (record.state > TrialState::active)
      done[record.spec.id] = std::numeric_limits<std::uint32_t>::max();
    else if (record.last)
      done[record.spec.id] = record.last->epoch * objects_.bench->config().data.partitions + record.last->visit + 1;
  }
  return done;
}

/// A run that goes on elsewhere may end with other digests.
void ExperimentRun::check_fingerprint() {
  const std::string now = fingerprint_of(objects_.bench->config());
  const auto before = journal().fact(kFingerprintFact);
  if (!before) return journal().put_fact(kFingerprintFact, now);
  if (*before != now)
    HOPYARD_WARN << "this run began under " << *before << " and goes on under " << now
                 << ": its digests may differ from those of an undisturbed run";
}

std::uint32_t ExperimentRun::orders_max(const SearchSpec& search) const {
  constexpr std::uint32_t kOrdersPerDevice = 2;  // so that one computes while another moves
  if (search.max_concurrent_trials > 0) return search.max_concurrent_trials;
  if (search.deterministic) return kCanonicalConcurrency;
  return kOrdersPerDevice * objects_.bench->planner().device_count() * objects_.bench->place().workers;
}

void ExperimentRun::add_handlers(Experiment& experiment, ChannelHandlers& handlers) {
  handlers["status"] = [&](const ChannelRequest&) {
    const StatusView view{objects_.bench->config().name, true, experiment.paused(), snapshot(experiment),
                          experiment.operations(),       {}};
    return Json{{"ok", true}, {"status", view}};
  };
  for (const auto verb : {OperationVerb::stop, OperationVerb::resume, OperationVerb::clone, OperationVerb::set,
                          OperationVerb::pause, OperationVerb::go_on, OperationVerb::ask, OperationVerb::finish})
    handlers[to_string(verb)] = [&](const ChannelRequest& request) {
      return steer(experiment, objects_.bench->config(), request);
    };
}

ProgressSnapshot ExperimentRun::snapshot(const Experiment& experiment) {
  ProgressSnapshot snapshot;
  snapshot.elapsed_s = monotonic_seconds() - started_s_;
  show_trials(snapshot, experiment);
  show_devices(snapshot);
  return snapshot;
}

void ExperimentRun::show_trials(ProgressSnapshot& snapshot, const Experiment& experiment) const {
  const auto trials = experiment.status();
  double done_s = 0, all_s = 0;
  for (const auto& trial : trials) {
    TrialProgress row = trial_progress(trial, experiment.operations());
    const bool ended = trial.state > TrialState::active;
    done_s += (ended ? 1 : row.fraction) * trial.predicted_s;
    all_s += trial.predicted_s;
    snapshot.trials.push_back(std::move(row));
  }
  if (done_s <= 0.01 * all_s) return;
  const double pace = snapshot.elapsed_s / done_s;  // wall seconds for a predicted second of device time
  snapshot.eta_s = pace * (all_s - done_s);
  for (std::size_t i = 0; i < trials.size(); ++i)
    if (trials[i].state == TrialState::active) snapshot.trials[i].eta_s = *snapshot.eta_s;
}

void ExperimentRun::show_devices(ProgressSnapshot& snapshot) {
  Bytes device_used = 0, device_budget = 0;
  for (const DeviceReport& device : objects_.executor->devices()) {
    show_device(snapshot, workers_ == nullptr ? device.name : name_of_workers(0, device.name), device.task,
                device.busy_s);
    device_used += device.memory_used;
    device_budget += device.memory_budget;
  }
  if (hopping_trainer_ != nullptr)
    for (std::uint32_t rank = 1; rank < workers_->session.place().workers; ++rank)
      for (const auto& device : hopping_trainer_->devices(rank))
        show_device(snapshot, name_of_workers(rank, device.name), device.task, device.busy_s);
  snapshot.tiers = {{"device", device_used, device_budget},
                    {"host", objects_.host->used(), objects_.host->capacity()},
                    {"disk", objects_.disk->used(), objects_.disk->capacity()}};
}

/// Over the last seconds.
void ExperimentRun::show_device(ProgressSnapshot& snapshot, const std::string& name, const std::string& task,
                                double busy_s) {
  constexpr double kRecentSeconds = 5;
  auto& [when, busy] = busy_before_[name];
  if (busy_s < busy) when = snapshot.elapsed_s, busy = busy_s;  // its worker is another process than before
  const double span = snapshot.elapsed_s - when;
  snapshot.devices.push_back({name, span > 0 ? std::clamp((busy_s - busy) / span, 0.0, 1.0) : 0, task});
  if (span > kRecentSeconds) when = snapshot.elapsed_s, busy = busy_s;
}

/// With those of workers whose folders are here and who wrote theirs in this run.
void ExperimentRun::write_trace() {
  if (workers_ == nullptr) return write_trace_file(paths().trace(), objects_.trace);
  std::vector<std::string> others;
  for (std::uint32_t rank = 1; rank < workers_->session.place().workers; ++rank) {
    const std::string file = paths().of_worker(rank).trace();
    std::error_code none;
    const auto written = std::filesystem::last_write_time(file, none);
    if (!none && written >= began_) others.push_back(file);
  }
  write_trace_file(paths().trace(), objects_.trace, TraceWorker{0, others});
}

void ExperimentRun::report(ExperimentEnd end) {
  const auto records = journal().trials();
  const auto rows = make_leaderboard(records, objects_.bench->config().search);
  const CardRecords cards = objects_.end_card_records();
  const RunSummary summary = make_summary({objects_.bench->config(), plan_, devices_, *objects_.host, *objects_.disk,
                                           wall_s_, materialised_, records, image_bytes_, cards, workers_ != nullptr});
  if (end == ExperimentEnd::finished) journal().put_fact("summary", Json(summary).dump());
  const RigorReport rigor = rigor_of_run(paths(), objects_.bench->config(), records, true);
  std::cout << '\n' << format_groups(rigor, TableFormat::table) << '\n';
  if (const std::string curves = format_learning_curves(rows); !curves.empty()) std::cout << curves << '\n';
  std::cout << format_summary(summary);
  if (hopping_) {
    journal().put_fact(kHoppingFact, to_json(*hopping_).dump());
    std::cout << '\n' << format_hopping(*hopping_);
  }
  ReportInput input{summary, rows, records, objects_.trace.tracks(), objects_.trace.slices(), objects_.trace.dropped(),
                    rigor};
  if (workers_ != nullptr)
    for (auto& track : input.tracks) track = name_of_workers(0, track);
  input.looks = open_record(paths().journal(), true)->looks();
  write_file_atomically(paths().report(), html_report(input));
  write_file_atomically(paths().timeline(), timeline_svg(input));
  write_trace();
  // Last, so that all of these are written anew after a kill.
  if (end == ExperimentEnd::finished) journal().put_fact("finished", "true");
  std::cout << "\nreport: " << paths().report() << "\ntrace:  " << paths().trace() << '\n';
}

ExitCode print_interrupted() {
  std::cout << "\nInterrupted. Committed work is kept; the same command goes on from there.\n";
  return ExitCode::interrupted;
}

}  // namespace hopyard
