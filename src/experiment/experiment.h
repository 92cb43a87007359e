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
#include "experiment/journaled_search.h"
#include "experiment/materialiser.h"
#include "experiment/shared_versions.h"
#include "pipeline/executor.h"
#include "select/search.h"

namespace hopyard {

/// What the loop works with; everything outlives it.
struct ExperimentParts {
  Searcher& searcher;
  Journal& journal;
  Executor& executor;
  HostTier& host;
  SharedVersions& disk;
  IoPool& pool;
  FrozenStore& frozen;
  std::uint32_t partitions;  ///< how many, of each trial
  std::string metric;
  std::optional<std::uint32_t> active_trials;
  /// Orders of a search that reacts to scores that are under way at a time: more would be asked for before their turn.
  std::uint32_t orders_max = 1;
  std::string resources;  ///< as JSON text: a trial that did not fit is tried again under others
  /// Resolves a trial: everything of its setup. Failure when it cannot run.
  std::function<TrialSetup(const TrialSpec&, std::uint32_t number)> resolve;
  /// Told of what happened, one line each.
  std::function<void(const std::string&)> event;
  /// Called often from the loop's thread, at most every kProgressSeconds.
  std::function<void()> progress;
  /// Set when a person or a signal wants the run to end; committed work stays.
  const std::atomic<bool>& interrupted;
  KeepOutcomes keep_outcomes = {};  ///< may be empty
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
        search_(parts_.searcher, parts_.journal),
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
    TrialSetup setup;                   ///< empty but for its number where it was refused
    std::string refusal;                ///< why it cannot run here; empty when it can
    std::shared_ptr<TrialRun> run;      ///< while it is in the active set
    std::vector<FeatureHold> features;  ///< that the visit under way reads
    bool under_way = false;             ///< a visit of the run is not committed yet
    std::uint32_t visits_wanted = 0;    ///< of all epochs, that the search has asked for
    std::vector<BlobVersion> state;     ///< committed; empty before the first commit
    std::string digest;                 ///< of that state
    std::uint64_t steps = 0;
    double loss_sum = 0, loss_items = 0;  ///< of the epoch so far
    std::uint32_t passed_over = 0;        ///< how often a smaller trial was admitted before it
    bool ended() const { return status.state > TrialState::active; }
    bool has_work() const { return !ended() && status.visits_done < visits_wanted; }
  };

  void take_up_journal();
  void take_up(const TrialRecord& record);
  void share_versions() const;
  void take_back(TrialRecord& record);
  void ask();
  void accept(const TrialOrder& order);
  Entry& add(const TrialSpec& spec);
  Entry& entry_of(const std::string& trial);
  void begin_at_parent(Entry& clone);
  void fail_if_refused(Entry& entry);
  void stop(const TrialStop& stop);
  void go_on();
  bool others_are_behind(const Entry& entry) const;
  void admit();
  bool try_admit(Entry& entry);
  std::uint32_t partition_of(const Entry& entry, std::uint32_t visits_done) const;
  bool features_ready(const Entry& entry) const;  ///< for its next visit
  std::vector<FeatureDemand> feature_demands() const;
  std::uint32_t active_count() const;
  void start_visit(Entry& entry);
  void visit_ended(VisitResult result);
  void committed(CommitDone done);
  void end(Entry& entry, TrialState state, const std::string& reason);
  void close(Entry& entry, TrialState state, const std::string& reason);  ///< as end(), which the search knows already
  bool all_ended() const;

  ExperimentParts parts_;
  JournaledSearch search_;
  Materialiser materialiser_;
  std::vector<std::unique_ptr<Entry>> entries_;   // by index
  std::map<std::string, std::uint32_t> indexes_;  // by id
  std::unique_ptr<Committer> committer_;
};

/// The sentence of an error, for people.
std::string describe(const std::exception_ptr& error);

}  // namespace hopyard
