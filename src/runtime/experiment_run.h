// An experiment from its objects to its report: what `hopyard run` does, and what other verbs do with another searcher.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "experiment/experiment.h"
#include "experiment/materialiser.h"
#include "report/progress.h"
#include "runtime/hopping_run.h"
#include "runtime/request_channel.h"
#include "runtime/run_objects.h"

namespace hopyard {

/// The coordinator of a run of several workers.
struct Coordinator {
  WorkerSession session;
  std::unique_ptr<CoordinatorEnd> end;
};

/// Plans, trains, shows progress on standard output, and writes the report into the run directory.
class ExperimentRun {
 public:
  /// Arguments as those of RunObjects; `workers`: of a run of several, which outlives it.
  ExperimentRun(const ExperimentConfig& config, RunDirectory directory,
                std::optional<std::vector<TrialSpec>> trials = std::nullopt, const Coordinator* workers = nullptr);

  /// Trains what `searcher` asks for to its end, or until `interrupted`. Meanwhile answers what comes through the run
  /// directory's channel: people's verbs, and those that `more` adds, on the loop's thread.
  ExperimentEnd train(Searcher& searcher, const std::atomic<bool>& interrupted, ChannelHandlers more = {});
  /// Prints leaderboard and summary, and writes report.html, timeline.svg and trace.json.
  void report(ExperimentEnd end);

  Journal& journal() { return *objects_.journal; }
  const RunPaths& paths() const { return objects_.directory.paths(); }
  /// With what was decided since it was read: partitions and groups of rows.
  const ExperimentConfig& config() const { return objects_.bench->config(); }

 private:
  /// Records a trial's rotation before it trains. Any thread.
  TrialSetup resolve(const TrialSpec& spec, std::uint32_t number);
  ExperimentEnd train_here(Searcher& searcher, const std::atomic<bool>& interrupted, ChannelHandlers& more);
  ExperimentEnd train_on_workers(Searcher& searcher, const std::atomic<bool>& interrupted, ChannelHandlers& more);
  ExperimentEnd loop(Searcher& searcher, VisitTrainer& trainer, const std::atomic<bool>& interrupted,
                     ChannelHandlers& more);
  /// Of each trial that the journal knows; all that there can be of one that has ended.
  std::map<std::string, std::uint32_t> visits_done() const;
  void check_fingerprint();
  std::uint32_t orders_max(const SearchSpec& search) const;
  void add_handlers(Experiment& experiment, ChannelHandlers& handlers);
  ProgressSnapshot snapshot(const Experiment& experiment);
  void show_trials(ProgressSnapshot& snapshot, const Experiment& experiment) const;
  void show_devices(ProgressSnapshot& snapshot);
  void show_device(ProgressSnapshot& snapshot, const std::string& name, const std::string& task, double busy_s);
  void write_trace();

  Bytes image_bytes_;
  const Coordinator* const workers_;
  RunObjects objects_;
  std::mutex resolving_;  // guards objects_.bench once training has begun
  ProgressView view_;
  PlanView plan_;
  std::vector<DeviceReport> devices_;
  std::map<std::string, std::pair<double, double>> busy_before_;  // of each device: when, busy until then
  std::vector<MaterialisedDepth> materialised_;
  const HoppingTrainer* hopping_trainer_ = nullptr;  // of a run of several workers, while it trains
  std::optional<HoppingReport> hopping_;             // of a run of several workers
  double started_s_ = 0, wall_s_ = 0;
  const std::filesystem::file_time_type began_ = std::filesystem::file_time_type::clock::now();
};

/// Says that the same command goes on; the exit code that says it to programs.
ExitCode print_interrupted();

/// Names what a run directory does again: {"directory": …}, of a reproduction also "trial".
inline constexpr const char* kReproducesFact = "reproduces";
inline constexpr const char* kReplaysFact = "replays";

}  // namespace hopyard
