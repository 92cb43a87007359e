// The loop: ask the search, admit trials, train visits, commit, tell the search.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/failure.h"
#include "experiment/journaled_search.h"
#include "experiment/steering.h"
#include "experiment/trial_entry.h"
#include "experiment/visit_trainer.h"
#include "select/search.h"
#include "select/trial_requests.h"

namespace hopyard {

class Experiment;

/// What the loop works with; everything outlives it.
struct ExperimentParts {
  Searcher& searcher;
  Journal& journal;
  VisitTrainer& trainer;
  std::uint32_t partitions;  ///< that each trial visits in an epoch
  std::string metric;
  /// Orders of a search that reacts to scores that are under way at a time: more would be asked for before their turn.
  /// Where trials are requested from outside, all that are requested are under way.
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
  std::uint64_t seed = 0;  ///< of the experiment
  /// Called often from the loop's thread: hands what people ask for to steer(). A nudge of the trainer calls it soon.
  std::function<void(Experiment&)> requests = {};
};
inline constexpr double kProgressSeconds = 0.25;

/// What a person is told of a request.
struct OperationAnswer {
  std::optional<Operation> operation;  ///< in the journal by now; nothing when it was refused
  std::string refusal;
  ExitCode refusal_code = ExitCode::usage;
  std::string boundary;             ///< when it takes effect
  std::vector<std::string> before;  ///< of each change, the value until now; empty where the config says it
  std::optional<TrialSpec> made;    ///< the trial that it makes
};

enum class ExperimentEnd { finished, interrupted };

/// The fact that says under which resources a trial did not fit.
std::string unfit_fact(const std::string& trial);
/// Whether a trial failed because it did not fit resources other than these.
bool may_fit_now(const Journal& journal, const TrialRecord& record, const std::string& resources);
/// Whether a trial that the journal knows is not at its end, or may be tried again.
bool has_work(const Journal& journal, const std::string& resources);
/// Drops what a crash left in the disk tier: all that no commit names. Call before anything is written to it.
void forget_uncommitted(const Journal& journal, DiskTier& disk);

/// Runs trials to their end. One thread; not reusable. What the journal holds is taken up where it ended.
class Experiment {
 public:
  explicit Experiment(ExperimentParts parts) : parts_(std::move(parts)), search_(parts_.searcher, parts_.journal) {}
  /// A trial fails alone when its loss is not finite or it does not fit its device. Throws everything else: a disk, a
  /// file, the journal, the machine's memory, a broken contract. Committed work stays, and the journal says of no trial
  /// that it failed for that.
  ExperimentEnd run();
  /// Decides on what a person asks for; an operation is in the journal when this returns. `keep_refusal` journals a
  /// refusal too. Only on the loop's thread, from ExperimentParts::requests.
  OperationAnswer steer(const OperationRequest& request, bool keep_refusal);
  std::vector<TrialStatus> status() const;
  const std::vector<Operation>& operations() const { return operations_; }
  bool paused() const { return paused_; }

 private:
  using Entry = TrialEntry;

  // take_up.cc: going on where the journal ends
  void take_up_journal();
  void take_up(const TrialRecord& record);
  void take_back(TrialRecord& record);

  // experiment.cc: the search's orders, visits and commits
  void ask();
  void take_stops();
  void accept(const TrialOrder& order);
  Entry& add(const TrialSpec& spec, std::vector<Setting> settings);
  Entry& entry_of(const std::string& trial);
  Entry* find_entry(const std::string& trial);
  bool may_begin_at_parent(const Entry& clone);
  void begin_at_parent(Entry& clone);
  void fail_if_refused(Entry& entry);
  void stop(const TrialStop& stop);

  // ask.cc: trials that are asked for from outside
  Decision decide_request(const OperationRequest& request) const;
  void decide_new(Decision& decision) const;
  void decide_further(Decision& decision) const;
  void hand_over(const Operation& operation);

  // steer.cc: what people ask for
  SteeringView view() const;
  void take_up_operations();
  void note(Decision& decision);
  void check_possible(const Decision& decision);
  void check_room(const TrialSetup& setup, const char* what) const;  ///< on disk, for a new trial
  void apply_operations();
  bool apply(const Operation& operation);  ///< false while it waits for its boundary
  bool apply_stop(Entry& entry, const Operation& operation);
  bool apply_resume(Entry& entry, const Operation& operation);
  bool apply_set(Entry& entry, const Operation& operation);
  bool apply_clone(const Operation& operation);
  void settle(const Operation& operation, const std::string& outcome);
  void begin_waiting_clones();
  bool was_resumed(const std::string& trial) const;

  void ended(VisitEnd end);
  void committed(Entry& entry, const VisitCommit& commit);
  void end(Entry& entry, TrialState state, const std::string& reason);
  void close(Entry& entry, TrialState state, const std::string& reason);  ///< as end(), which the search knows already
  bool all_ended() const;

  ExperimentParts parts_;
  JournaledSearch search_;
  std::vector<std::unique_ptr<Entry>> entries_;  // in the order of coming
  std::map<std::string, Entry*> by_id_;
  std::set<std::uint32_t> numbers_;    // of their setups, which are the indices of their specs
  std::vector<Operation> operations_;  // as in the journal
  bool paused_ = false;                // a person has paused the whole experiment
};

}  // namespace hopyard
