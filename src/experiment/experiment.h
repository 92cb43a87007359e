// The loop: ask the search, admit trials, train visits, commit, tell the search.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "experiment/committer.h"
#include "experiment/materialiser.h"
#include "pipeline/executor.h"
#include "select/search.h"

namespace hopyard {

/// What the loop works with; everything outlives it.
struct ExperimentParts {
  Searcher& searcher;
  Journal& journal;
  Executor& executor;
  HostTier& host;
  DiskTier& disk;
  IoPool& pool;
  FrozenStore& frozen;
  const Partitions& partitions;
  std::string metric;
  std::optional<std::uint32_t> active_trials;
  std::string resources;  ///< as JSON text: a trial that did not fit is tried again under others
  /// Resolves a trial: everything of its setup. Failure when it cannot run.
  std::function<TrialSetup(const TrialSpec&, std::uint32_t number)> resolve;
  /// Told of what happened, one line each.
  std::function<void(const std::string&)> event;
  /// Called often from the loop's thread, at most every kProgressSeconds.
  std::function<void()> progress;
  /// Set when a person or a signal wants the run to end; committed work stays.
  const std::atomic<bool>& interrupted;
};
inline constexpr double kProgressSeconds = 0.25;

/// A trial as the loop sees it; for progress.
struct TrialStatus {
  TrialSpec spec;
  TrialState state = TrialState::waiting;
  std::string reason;
  std::uint32_t epochs = 0, visits_per_epoch = 0;
  std::uint32_t visits_done = 0;  ///< of all epochs
  double visit_fraction = 0;      ///< of the visit under way
  std::optional<double> loss, metric;
  double predicted_s = 0;  ///< device time of the whole trial
};

enum class ExperimentEnd { finished, interrupted };

/// Whether a trial failed because it did not fit resources other than these.
bool may_fit_now(const Journal& journal, const TrialRecord& record, const std::string& resources);
/// Whether a trial that the journal knows is not at its end, or may be tried again.
bool has_work(const Journal& journal, const std::string& resources);
/// Drops what a crash left in the disk tier: all that no commit names. Call before anything is written to it.
void forget_uncommitted(const Journal& journal, DiskTier& disk);

/// Runs trials to their end. One thread; not reusable. What the journal holds is taken up where it ended.
class Experiment {
 public:
  explicit Experiment(ExperimentParts parts)
      : parts_(std::move(parts)),
        materialiser_({parts_.executor, parts_.host, parts_.disk, parts_.pool, parts_.frozen, parts_.event}) {}
  /// A trial fails alone when its loss is not finite or it does not fit its device. Throws everything else: a disk, a
  /// file, the journal, the machine's memory, a broken contract. Committed work stays, and the journal says of no trial
  /// that it failed for that.
  ExperimentEnd run();
  std::vector<TrialStatus> status() const;
  const Materialiser& materialiser() const { return materialiser_; }

 private:
  struct Entry {
    TrialStatus status;
    TrialSetup setup;
    std::shared_ptr<TrialRun> run;   ///< while it is in the active set
    std::vector<BlobVersion> state;  ///< committed; empty before the first commit
    std::uint64_t steps = 0;
    double loss_sum = 0, loss_items = 0;  ///< of the epoch so far
    std::uint32_t passed_over = 0;        ///< how often a smaller trial was admitted before it
    bool ended() const { return status.state > TrialState::active; }
  };

  void take_up_journal();
  void take_back(TrialRecord& record);
  void ask();
  Entry& add(const TrialSpec& spec);
  void materialise();
  void admit();
  bool try_admit(Entry& entry);
  std::uint32_t active_count() const;
  void start_visit(Entry& entry);
  void visit_ended(VisitResult result);
  void committed(CommitDone done);
  void next_or_rotate(Entry& entry);
  void end(Entry& entry, TrialState state, const std::string& reason);
  bool all_ended() const;

  ExperimentParts parts_;
  Materialiser materialiser_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::unique_ptr<Committer> committer_;
};

/// The sentence of an error, for people.
std::string describe(const std::exception_ptr& error);

}  // namespace hopyard
