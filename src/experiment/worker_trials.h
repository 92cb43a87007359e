// The trials that a worker trains: what its coordinator asks of them, as a LocalTrainer takes it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "experiment/held_states.h"
#include "experiment/local_trainer.h"
#include "experiment/team_meetings.h"
#include "hopper/messages.h"

namespace hopyard {

struct WorkerTrialsParts {
  LocalTrainer& trainer;
  HeldStates& states;
  std::function<TrialSetup(const TrialSpec&, std::uint32_t number)> resolve;
  std::function<void(const ToCoordinator&)> say;
  TeamMeetings::Meet meet;
};

/// One thread. The trainer's commits go to the book from here on, until finish().
class WorkerTrials {
 public:
  explicit WorkerTrials(WorkerTrialsParts parts);
  ~WorkerTrials();

  void train(Train train);
  void abandon(const std::string& trial);
  void keep(const Keep& keep);
  /// A state is on its way here: another one after as many visits is of no use.
  void expect(const Hop& hop);
  /// It has come, or will not.
  void hop_over(std::uint64_t number) { coming_.erase(number); }

  /// The trial, which rests after so many visits, goes on elsewhere: its memory is for others.
  void leave(const std::string& trial, std::uint32_t visits);

  /// Begins what can begin. `others_wait`: somebody else needs host memory, so trials that rest give back some.
  void get_on(bool others_wait);
  /// Waits until something happens or `timeout_s` has passed, and says what ended.
  void wait(double timeout_s);
  /// Gives up all visits, and waits for them.
  void give_up();
  /// Commits under way come to their end.
  void finish() { parts_.trainer.finish(); }

  bool trains() const;  ///< a visit is under way
  bool waits_for_state() const;
  Progress progress() const;
  /// What this incarnation trained so far.
  Account account() const;

 private:
  struct Trial {
    TrialEntry* entry = nullptr;
    bool resolved = false;                  ///< the entry has its setup, and the trainer knows that it is wanted
    std::optional<Train> asked;             ///< and not begun
    std::shared_ptr<VisitTie> met;          ///< the team of what is asked, once all are there
    std::optional<std::uint32_t> rests_at;  ///< visits behind the state at which the trainer may hold its run
  };
  /// A visit, from its beginning until the trainer has let go of it. Setup and visits of the entry stand still.
  struct UnderWay {
    std::uint64_t number = 0;  ///< of the order
    const TrialEntry* entry = nullptr;
    std::optional<HeldState> begins_at;  ///< lent
    bool given_up = false;               ///< nothing may come of it
    std::optional<HeldState> committed;  ///< what came of it nevertheless
    RowOutcomes rows;
    std::optional<Trained> trained;
  };
  using Entries = std::vector<std::unique_ptr<TrialEntry>>;

  // worker_trials.cc: what is asked of trials
  bool is_here(const Train& train) const;    ///< the state that it begins at
  bool is_coming(const Train& train) const;  ///< by a hop that has not ended
  bool can_begin(const Trial& trial) const;
  void meet_teams();
  void forget(Trial& trial);  ///< what it was asked for
  bool resolve(Trial& trial, const Train& train);
  static void check_judged(const TrialEntry& entry, const Train& train);
  void unresolve(Trial& trial);
  bool is_training(const Trial& trial) const;
  void remove(Trial& trial, const HeldState& state);
  void move(const Trial& trial, Entries& from, Entries& to);

  // worker_room.cc: which of those that rest give way
  void release(Trial& trial);
  bool release_one();

  // worker_visits.cc: visits, and what comes of them
  void begin(Trial& trial);
  UnderWay begin_at(Trial& trial, const Train& train);
  bool is_given_up(const std::string& trial) const;
  std::uint64_t number_of(const std::string& trial) const;  ///< of the order of its visit under way
  void ended(VisitEnd end);
  void committed(Trial& trial, const VisitCommit& commit);
  void evaluated(Trial& trial, std::vector<JudgedPartition> judged);
  void rest(Trial& trial);  ///< its visit has ended, whatever came of it
  void commit_to_book(const VisitCommit& commit, const std::vector<CurvePoint>& curve);  ///< the committer's thread

  WorkerTrialsParts parts_;
  const double began_s_;
  const std::vector<DeviceReport> devices_before_;
  Account account_;
  std::map<std::string, Trial> trials_;
  std::map<std::uint64_t, Hop> coming_;  ///< states that hops bring, by the hop's number
  Entries training_, resting_;           ///< given to the trainer, and not; the latter by when they began to rest
  TeamMeetings meetings_;

  mutable std::mutex mutex_;  // guards all below, which the committer's thread uses
  std::map<std::string, UnderWay> under_way_;
};

}  // namespace hopyard
