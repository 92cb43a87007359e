// Where a simulated trial stands in its list of tasks; private to the simulator.
#pragma once

#include "pipeline/simulator.h"

namespace hopyard {

/// Walks rounds × phases × repeats × tasks, skipping what is empty.
class SimCursor {
 public:
  explicit SimCursor(const SimTrial& trial) : trial_(&trial) {
    for (const SimPhase& phase : trial.phases) {
      double& step_s = step_s_.emplace_back(0);
      for (const SimTask& task : phase.tasks) step_s += task.compute_s;
      for (const SimTask& task : phase.tasks) total_s_ += task.compute_s * static_cast<double>(phase.repeats);
    }
    total_s_ *= static_cast<double>(trial.rounds);
    remaining_s_ = total_s_;
    skip_empty();
  }

  bool done() const { return total_rounds() == round_; }
  const SimTask& task() const { return phase().tasks[task_]; }
  const SimPhase& phase() const { return trial_->phases[phase_]; }
  bool ends_visit() const {
    return phase().ends_visit && task_ + 1 == phase().tasks.size() && repeat_ + 1 == phase().repeats;
  }
  double total_s() const { return total_s_; }
  double remaining_s() const { return remaining_s_; }
  double step_s() const { return step_s_[phase_]; }
  /// Of its tasks, the share that is left.
  double step_left() const { return 1 - static_cast<double>(task_) / static_cast<double>(phase().tasks.size()); }

  void advance() {
    remaining_s_ -= task().compute_s;
    if (++task_ < phase().tasks.size()) return;
    task_ = 0;
    if (++repeat_ < phase().repeats) return;
    repeat_ = 0;
    ++phase_;
    skip_empty();
  }

 private:
  bool has_tasks() const {
    for (const SimPhase& phase : trial_->phases) {
      if (!phase.tasks.empty() && phase.repeats > 0) return true;
    }
    return false;
  }
  std::uint64_t total_rounds() const { return trial_->rounds; }
  void skip_empty() {
    if (!has_tasks()) round_ = total_rounds();
    while (!done()) {
      if (phase_ == trial_->phases.size()) {
        phase_ = 0;
        ++round_;
      } else if (phase().tasks.empty() || phase().repeats == 0) {
        ++phase_;
      } else {
        return;
      }
    }
  }

  const SimTrial* trial_;
  std::uint64_t round_ = 0, repeat_ = 0;
  std::size_t phase_ = 0, task_ = 0;
  double total_s_ = 0, remaining_s_ = 0;
  std::vector<double> step_s_;  // of each phase
};

}  // namespace hopyard
