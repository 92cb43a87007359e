// Where an experiment's visits are trained: the loop decides what is wanted, a trainer where and when it runs.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/journal.h"
#include "experiment/trial_entry.h"
#include "model/judged.h"
#include "pipeline/executor.h"

namespace hopyard {

/// How a visit ended.
struct VisitEnd {
  TrialEntry* trial = nullptr;
  std::optional<VisitCommit> commit = {};    ///< in the journal by now; nothing when the trial failed
  std::vector<JudgedPartition> judged = {};  ///< of a visit that only evaluated: it has no commit
  std::string failure = {};                  ///< what the trial itself did
  bool did_not_fit = false;                  ///< the failure: under other resources it may be none
  bool parted = false;                       ///< the failure: its team fell apart, which is no fault of the trial
};

using TrialEntries = std::span<const std::unique_ptr<TrialEntry>>;

/// LocalTrainer trains on the devices of this process, HoppingTrainer on those of several. All calls from the loop's
/// thread but nudge(). Entries outlive the trainer's last call.
class VisitTrainer {
 public:
  virtual ~VisitTrainer() = default;
  /// Before anything else: visits are committed to this journal.
  virtual void open(Journal& journal) = 0;
  /// The trials that the journal knows, as it left them; before anything begins.
  virtual void take_up(TrialEntries trials) = 0;
  /// The trial will be trained, so that what it needs may be prepared; or will not any more.
  virtual void want(const TrialEntry& trial) = 0;
  virtual void let_go(const TrialEntry& trial) = 0;
  /// Begins the next visits of trials that have work, as far as there is room; trials without work give back what they
  /// hold. `paused`: nothing begins.
  virtual void start_visits(TrialEntries trials, bool paused) = 0;
  /// Visits that ended since; none when `timeout_s` passed or somebody nudged. A disk, a file, the machine or a journal
  /// that fails is thrown: no trial's fault.
  virtual std::vector<VisitEnd> wait(double timeout_s) = 0;
  /// The visit under way is given up at the next task's end, and nothing is heard of it: `under_way` ends.
  virtual void abandon(TrialEntry& trial) = 0;
  /// The trial gives back what it holds between visits; it goes on from its committed state.
  virtual void release(TrialEntry& trial) = 0;
  /// The clone begins at its parent's committed state, which the parent drops when it has a newer one.
  virtual void share(const TrialEntry& parent, const TrialEntry& clone) = 0;
  /// Commits under way come to their end; nothing else begins.
  virtual void finish() = 0;
  virtual std::vector<ActiveReport> active() const = 0;
  /// What one more trial's state may take of the disk tier.
  virtual Bytes disk_room() const = 0;
  /// Makes a wait() return early. Any thread.
  virtual void nudge() = 0;
};

}  // namespace hopyard
