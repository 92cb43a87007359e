// Decides how each trial runs: cuts, window in the host tier, what is shared; and refuses before training what cannot
// fit.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "device/device_spec.h"
#include "pipeline/compute_thread.h"
#include "pipeline/train_spec.h"
#include "pipeline/trial_setup.h"

namespace hopyard {

/// What there is to run on.
struct PlannerInputs {
  std::vector<DeviceSpec> devices;
  Bytes host_memory = 0, disk_capacity = 0;
  Bytes staging = 0;  ///< of the host tier, held by the threads that do disk work
  ExecuteSpec execute;
  std::uint32_t trials = 1;
  DeviceMaker measure;  ///< a device like those of the run, to measure layers on; none: the CPU with their threads
  double disk_read_bytes_per_s = 1e9, disk_write_bytes_per_s = 1e9;
};

/// Predicted bytes and seconds of one trial, beside what is in its setup.
struct TrialForecast {
  Bytes state = 0;   ///< trainable parameters and moments and the loss scale, as committed
  Bytes host = 0;    ///< window and boundaries
  Bytes frozen = 0;  ///< shared frozen layers in this form, and room to read the largest
  FrozenForm form = FrozenForm::whole;
  Bytes workspace = 0;         ///< of a task at most
  Bytes disk = 0;              ///< as committed: `state`, and frozen layers of its own
  Bytes spilled = 0;           ///< on disk besides while it trains, because the window is smaller than its blobs
  Bytes spilled_least = 0;     ///< of `spilled`, for which the window has no room in any case
  Bytes spilled_per_step = 0;  ///< written to disk beside commits, for the same reason
  Bytes spilled_per_admission = 0;
};

/// Measures a model's layers once for all trials that differ in nothing that costs. Not thread-safe.
class Planner {
 public:
  explicit Planner(PlannerInputs inputs);

  /// Fills in costs, limits, plan, window and frozen_in_window. Requires everything else of the setup.
  /// Failure(capacity) names the layer, the bytes needed and the bytes there when the trial cannot run.
  TrialForecast plan(TrialSetup& setup);

  /// Workspace to grant to each cpu device: the largest that the plans so far need. Zero when there is none.
  Bytes cpu_workspace() const { return cpu_workspace_; }
  /// Leaves so many bytes of the host tier to features from now on.
  void leave_to_features(Bytes bytes) { features_ = bytes; }
  /// Bytes of the host tier that trials may take together.
  Bytes host_for_trials() const;
  const PlannerInputs& inputs() const { return inputs_; }
  /// What to measure on.
  DeviceMaker measuring() const { return inputs_.measure ? inputs_.measure : unbounded_cpu(device_.threads); }
  std::uint32_t device_count() const;

 private:
  const std::vector<LayerCost>& costs_of(const TrialSetup& setup);
  UpdatePlace update_place(const TrainSpec& train) const;
  DeviceLimits limits_of(const TrialSetup& setup) const;
  void refuse_too_large(const TrialSetup& setup) const;
  PartitionPlan cut(TrialSetup setup, std::vector<LayerCost> costs, const DeviceLimits& limits) const;
  PartitionPlan cut_for_host(TrialSetup setup) const;
  Bytes host_left(Bytes workspace) const;
  Bytes workspace_needed(const PartitionPlan& plan) const;
  void choose_window(TrialSetup& setup, Bytes available);

  PlannerInputs inputs_;
  DeviceSpec device_;  // the one with the least memory: a plan must run on any
  std::uint32_t cpu_devices_ = 0;
  Bytes cpu_workspace_ = 0, features_ = 0;
  std::map<std::string, std::vector<LayerCost>> costs_;
};

/// What trials take of the host tier together. All that hold frozen layers in one form hold the same, and each form is
/// a copy of its own.
class HostTogether {
 public:
  void add(const TrialForecast& trial);
  Bytes bytes() const { return bytes_; }
  Bytes bytes_with(const TrialForecast& trial) const;
  Bytes frozen() const;

 private:
  Bytes bytes_ = 0;
  std::map<FrozenForm, Bytes> frozen_;
};

/// What lies on disk beside what is committed.
struct WrittenAnew {
  Bytes least = 0;  ///< when the trial that needs most of it commits, however few others are active
  Bytes most = 0;   ///< one trial commits, and of all active ones whose windows are too small there is what they spill:
                    ///< in each step a new version of the state, and gradients and copies
};
/// While so many trials are active. Requires at least one.
WrittenAnew written_anew(const std::vector<TrialForecast>& forecasts, std::uint32_t active);

/// How many trials' state the host tier holds at a time when they are admitted in this order.
std::uint32_t active_at_once(const std::vector<TrialForecast>& forecasts, Bytes host_for_trials);

}  // namespace hopyard
