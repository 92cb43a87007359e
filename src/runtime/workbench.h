// From a config to the objects that planning and running need: data, models, planner, trials.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/simulator.h"
#include "planner/planner.h"
#include "planner/sharing.h"
#include "report/plan_view.h"
#include "runtime/config.h"
#include "runtime/recorded_visits.h"
#include "runtime/training_data.h"
#include "runtime/training_rows.h"
#include "runtime/trial_rotations.h"
#include "runtime/validation_data.h"

namespace hopyard {

/// All that the config's search asks for before it is told anything. Where trials are asked for from outside, random
/// ones in their place: "x00", ….
std::vector<TrialOrder> orders_before_scores(const ExperimentConfig& config);

/// Threads that do disk work; each holds kDiskStagingBytes of the host tier.
inline constexpr int kIoThreads = 2;

/// What the links of a worker hold of its first card, and again of host memory.
Bytes held_by_links(const ExperimentConfig& config, const WorkerPlace& place);

/// What is known of an experiment beside its config.
struct WorkbenchStart {
  /// Instead of those that the config's search asks for before it is told anything.
  std::optional<std::vector<TrialSpec>> trials = {};
  RotationRecord rotations = {};
  VisitRecord orders = {};  ///< of visits, that are repeated
  WorkerPlace place = {};
};

class Workbench {
 public:
  /// Opens and checks the data. `disk_read`, `disk_write`: bytes per second, as measured.
  Workbench(const ExperimentConfig& config, double disk_read_bytes_per_s, double disk_write_bytes_per_s,
            WorkbenchStart start = {});

  const ExperimentConfig& config() const { return config_; }
  /// The trials that plan_all() plans.
  const std::vector<TrialSpec>& trials() const { return specs_; }
  /// A trial ready to run, as plan_all() planned it, or planned now. Failure when it cannot run.
  TrialSetup resolve(const TrialSpec& spec, std::uint32_t number);
  /// As resolve(), without planning: for export.
  TrialSetup describe(const TrialSpec& spec, std::uint32_t number);
  /// Puts the rows of the test split that a trial is judged on into its setup, instead of the validation rows; checked
  /// as the other data are. All of them are here.
  void judge_on_test(const TrialSpec& spec, TrialSetup& setup, const std::string& folder) const;
  /// Plans every trial, so that what cannot run is refused before training; decides data.partitions if the config left
  /// it open. `visits_done`: of trials that are under way, by id. Returns what `hopyard plan` shows.
  PlanView plan_all(const std::map<std::string, std::uint32_t>& visits_done = {});
  /// How many each trial visits in an epoch; decided by plan_all() at the latest.
  std::uint32_t partitions() const { return config_.data.partitions; }
  Planner& planner() { return *planner_; }
  const TrainingData& training_data() const { return training_; }
  const ValidationData& validation_data() const { return valid_; }
  const WorkerPlace& place() const { return place_; }
  /// Trials go through recorded visits, whichever worker is free.
  bool repeats_orders() const { return !orders_.empty(); }
  /// Gives a trial over data that were cut its rotation, if it has none: to be recorded before it trains. plan_all()
  /// does so for the trials that it plans, together; others get theirs in the order of asking. Whether it is new.
  bool rotate(const TrialSpec& spec);
  /// Of all that have theirs; empty where the data were not cut.
  RotationRecord rotations() const { return rotations_ ? rotations_->record() : RotationRecord(); }

 private:
  struct PlannedTrial {
    TrialSpec spec;
    TrialSetup setup;
    TrialForecast forecast;
    Bytes cpu_workspace = 0;  ///< of each cpu device, as known before this trial was planned
  };

  PlannedTrial plan(const TrialSpec& spec);
  void rotate_all();
  std::uint32_t rotation_of(const TrialSpec& spec);
  void give_order(const TrialSpec& spec, TrialSetup& setup);
  void begin_where_planned(const TrialSpec& spec, TrialSetup& setup) const;
  void plan_trials();
  std::vector<SharingTrial> sharing_trials(const std::map<std::string, std::uint32_t>& visits_done) const;
  void share(const std::map<std::string, std::uint32_t>& visits_done);
  SharingBudget sharing_budget() const;
  std::string why_nothing_is_shared(const std::vector<SharingTrial>& trials, const SharingBudget& budget) const;
  void note_partitions(const TrialSetup& setup, SharingTrial& trial) const;
  /// All rows are here.
  bool may_share_features() const { return !((training_.cut || valid_.cut) && place_.several()); }
  std::uint32_t rows_max() const;  ///< of the trials, of training rows
  std::vector<PlanRowGroup> describe_row_groups() const;
  bool has_frozen_layers() const;
  bool rows_may_be_shared(const TrialSetup& setup) const;  ///< as far as the sizes of batches matter
  Bytes materialising_bytes(const std::vector<TrialSetup>& setups) const;
  std::vector<PlanSharing> describe_sharing(const std::vector<TrialSetup>& setups) const;
  std::shared_ptr<const ModelSource> source(const ModelSpec& spec);
  TrainRows train_rows(const TrialSpec& spec) const;
  void decide_partitions(double step_s, std::uint32_t batch_size);
  /// That the search will give each trial, when none fails; which ones get most is not known beforehand.
  std::vector<Epochs> epochs_of(const std::vector<TrialSetup>& setups) const;
  /// Each trial as the simulator runs it, with the epochs that the search is expected to give it.
  std::vector<SimTrial> simulated_trials(const std::vector<TrialSetup>& setups,
                                         const std::vector<TrialForecast>& forecasts) const;
  double predict_seconds(std::vector<SimTrial> trials, const DeviceLimits& device, std::uint32_t active) const;
  std::string describe_teams() const;
  /// How many are admitted at a time, as long as they are admitted in this order.
  std::uint32_t active_trials(const std::vector<TrialForecast>& forecasts) const;
  PlanGroup describe_group(const TrialSetup& setup, const TrialForecast& forecast) const;
  PlanTiers describe_tiers(const std::vector<TrialSetup>& setups, const std::vector<TrialForecast>& forecasts) const;

  ExperimentConfig config_;
  const WorkerPlace place_;
  const TrainingData training_;
  const ValidationData valid_;
  std::vector<TrialSpec> specs_;
  std::vector<PlannedTrial> planned_;  // by plan_all(), as specs_
  SharingPlan sharing_;                // of planned_
  std::string sharing_note_;           // why there is none
  std::unique_ptr<Planner> planner_;
  TrainingRows training_rows_;
  std::optional<TrialRotations> rotations_;  // of data that were cut
  const VisitRecord orders_;
  std::vector<std::pair<ModelSpec, std::shared_ptr<const ModelSource>>> sources_;
};

}  // namespace hopyard
