// Trains visits on the devices of this process: two-level admission, features, commits.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "experiment/committer.h"
#include "experiment/materialiser.h"
#include "experiment/shared_versions.h"
#include "experiment/visit_trainer.h"

namespace hopyard {

/// What it works with; everything outlives it.
struct LocalTrainerParts {
  Executor& executor;
  HostTier& host;
  SharedVersions& disk;
  IoPool& pool;
  FrozenStore& frozen;
  std::string metric;
  std::optional<std::uint32_t> active_trials;
  std::function<void(const std::string&)> event;  ///< told of what happened, one line each
  KeepOutcomes keep_outcomes = {};                ///< with a journal; may be empty
};

class LocalTrainer final : public VisitTrainer {
 public:
  explicit LocalTrainer(LocalTrainerParts parts)
      : parts_(std::move(parts)),
        materialiser_({parts_.executor, parts_.host, parts_.disk, parts_.pool, parts_.frozen, parts_.event}) {}

  void open(Journal& journal) override;
  /// For a worker, which has no journal. Again after finish().
  void open(CommitSink sink, KeepOutcomes keep);
  void take_up(TrialEntries trials) override;
  void want(const TrialEntry& trial) override { materialiser_.want(trial.setup); }
  void let_go(const TrialEntry& trial) override { materialiser_.let_go(trial.setup); }
  void start_visits(TrialEntries trials, bool paused) override;
  std::vector<VisitEnd> wait(double timeout_s) override;
  void abandon(TrialEntry& trial) override;
  void release(TrialEntry& trial) override { held_of(trial).run.reset(); }
  void share(const TrialEntry& parent, const TrialEntry&) override { parts_.disk.share(parent.state); }
  void finish() override { committer_.reset(); }
  std::vector<ActiveReport> active() const override { return parts_.executor.active(); }
  Bytes disk_room() const override { return parts_.disk.capacity() - parts_.disk.used(); }
  void nudge() override { parts_.executor.nudge(); }
  /// Commits come to their end, visits under way to none; all trials are let go. The trainer starts nothing any more.
  void stop();

  std::vector<DeviceReport> devices() const { return parts_.executor.devices(); }
  const Materialiser& materialiser() const { return materialiser_; }

 private:
  /// What a trial holds here.
  struct Held {
    TrialEntry* entry = nullptr;
    std::shared_ptr<TrialRun> run;      ///< while it is in the active set
    std::vector<FeatureHold> features;  ///< that the visit under way reads
    bool dropped = false;               ///< that visit is given up
    std::uint32_t passed_over = 0;      ///< how often a smaller trial was admitted before it
  };

  // admission.cc
  void go_on(TrialEntries trials, bool paused);
  void admit(TrialEntries trials);
  bool try_admit(TrialEntry& trial);
  bool others_are_behind(TrialEntries trials, const TrialEntry& trial);
  bool features_ready(const TrialEntry& trial) const;  ///< for its next visit
  std::vector<FeatureDemand> feature_demands(TrialEntries trials) const;
  std::uint32_t active_count() const;

  // local_trainer.cc
  Held& held_of(const TrialEntry& trial) { return held_[trial.setup.number]; }
  void start_visit(TrialEntry& trial);
  std::optional<VisitEnd> visit_ended(VisitResult result);
  std::optional<VisitEnd> failed(Held& held, const std::exception_ptr& error);
  VisitEnd committed(CommitDone done);

  LocalTrainerParts parts_;
  Materialiser materialiser_;
  std::map<std::uint32_t, Held> held_;  // by the number of the trial's setup
  std::unique_ptr<Committer> committer_;
};

}  // namespace hopyard
