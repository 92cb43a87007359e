// A trial as the loop knows it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/journal.h"
#include "base/trial.h"
#include "hopper/visit_order.h"
#include "pipeline/step_exchange.h"
#include "pipeline/trial_setup.h"

namespace hopyard {

/// A trial as others see it; for progress.
struct TrialStatus {
  TrialSpec spec;
  std::vector<Setting> settings;  ///< in force: those of the spec, and what a person set
  TrialState state = TrialState::waiting;
  std::string reason;
  std::uint32_t epochs = 0, visits_per_epoch = 0;
  std::uint32_t visits_done = 0;  ///< of all epochs
  double visit_fraction = 0;      ///< of the visit under way
  std::optional<double> loss, metric;
  double predicted_s = 0;           ///< device time of the whole trial
  std::uint64_t skipped_steps = 0;  ///< so far, whose gradients were not finite
  bool held = false;                ///< a person has paused it
};

/// A trial's next visit, where a coordinator decides it.
struct SentVisit {
  std::uint32_t partition = 0;
  bool evaluate = false;
  std::vector<std::uint32_t> judge_on = {};  ///< partitions of the validation rows: it trains nothing
  MicroBatchShare share = {};                ///< of its team
  std::shared_ptr<VisitTie> tie = {};        ///< with its team; null: alone
};

/// What the loop and its trainer know together. The trainer sets what it says of itself, the loop all else.
struct TrialEntry {
  TrialStatus status;
  TrialSetup setup;                    ///< empty but for its number where it was refused
  std::string refusal;                 ///< why it cannot run here; empty when it can
  bool under_way = false;              ///< the trainer: a visit has begun and is not committed
  bool committing = false;             ///< the trainer: that visit has ended
  bool beside_search = false;          ///< the search neither knows of it nor hears of it: a person's clone, or resumed
  std::uint32_t visits_wanted = 0;     ///< of all epochs, that the search has asked for
  std::string digest;                  ///< of the committed state; empty before the first commit
  std::vector<BlobVersion> state;      ///< where that is; empty too where workers' books know it
  std::vector<std::uint32_t> visited;  ///< partitions of the epoch so far, in the order of visiting
  std::uint64_t steps = 0;
  double loss_sum = 0, loss_items = 0;  ///< of the epoch so far
  std::optional<SentVisit> sent;        ///< on a worker

  bool ended() const { return status.state > TrialState::active; }
  bool waits_for_parent() const {
    return !ended() && digest.empty() && status.spec.lineage && status.spec.lineage->epochs > 0;
  }
  bool wanted() const { return !ended() && status.visits_done < visits_wanted; }
  bool has_work() const { return wanted() && !status.held && !waits_for_parent(); }
  bool at_epoch_end() const { return status.visits_done % status.visits_per_epoch == 0; }
  bool only_evaluates() const { return sent && !sent->judge_on.empty(); }
  /// Whether its next visit ends with a score: the last one of an epoch, or of what the search has asked for.
  bool next_is_judged() const {
    if (sent) return sent->evaluate || only_evaluates();
    const std::uint32_t after = status.visits_done + 1;
    return after % status.visits_per_epoch == 0 || after == visits_wanted;
  }
  std::uint32_t visits_total() const { return status.epochs * status.visits_per_epoch; }
  /// Where its next visit goes when it has so many behind it.
  std::uint32_t partition_after(std::uint32_t visits) const {
    if (sent && visits == status.visits_done) return sent->partition;
    static const std::vector<std::uint32_t> all;  // refused ones have no partitions
    return partition_in_order(setup.rotation, setup.listed_visits.get(), visits, status.visits_per_epoch,
                              setup.partitions ? setup.partitions->to_visit() : all);
  }
};

}  // namespace hopyard
