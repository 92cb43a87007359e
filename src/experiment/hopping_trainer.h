// Trains an experiment's visits on several workers, each with its own part of the data: model hopper parallelism
// (Cerebro: Nakandala et al., VLDB 2020) whose workers interleave trials. Decisions 8 and 9.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "experiment/committer.h"
#include "experiment/visit_trainer.h"
#include "hopper/cut_links.h"
#include "hopper/messages.h"
#include "hopper/open_shop.h"
#include "hopper/visit_scheduler.h"
#include "transport/transport.h"

namespace hopyard {

/// What it works with; everything that is referred to outlives it.
struct HoppingParts {
  CoordinatorEnd& end;
  Placement placement;
  std::vector<ShopWorker> workers;  ///< by rank; each counts from its Hello on
  const VisitScheduler& scheduler;
  bool trials_stay = false;          ///< under this scheduler each trains where it began
  std::uint32_t state_replicas = 2;  ///< a commit counts when so many workers hold the state, or all that live
  double wait_for_worker_s = 600;  ///< so long nothing may go on for want of a worker, or a trial may be tried in vain
  std::function<void(const std::string&)> event;
  KeepOutcomes keep_outcomes = {};  ///< may be empty; called on the loop's thread
  /// Homes of the partitions of validation rows; without any, every worker has all rows and judges what it trained.
  Placement valid_placement = {};
  std::string metric = {};  ///< of scores that are put together from such partitions
};

/// The fact that says in which visit a trial failed: {"visits": behind it, "partition": …}. Commits say it of others.
std::string failed_visit_fact(const std::string& trial);

/// What workers and hops did, for the report.
struct HoppingReport {
  struct Worker {
    Account account;  ///< summed over its incarnations; of those that died as of their last progress
    std::uint64_t visits = 0;
    std::uint32_t deaths = 0;
    std::uint32_t departures = 0;  ///< before the end, by a signal or because it could not go on
  };
  std::vector<Worker> workers;  ///< by rank
  std::uint64_t hops = 0, failed_hops = 0;
  std::uint64_t team_visits = 0, parted_teams = 0;  ///< trained by several together; given up, since one was gone
  Bytes hop_bytes = 0;                              ///< of states, between two workers
  /// What formulas say of the same visits (hopper/bounds.h). Of states: k·m·p·|S| + m·|S|, without the m·|S| of the
  /// beginning, since first weights follow from the seed; of trials that stay, m·|S| for the way home, where they are
  /// not, and for each further copy. Of steps that several train, 2·(p−1)·m each, and of a server the moments once a
  /// visit: an upper bound there. Counted are the workers' accounts.
  Bytes hop_bytes_expected = 0, exchange_bytes_expected = 0;
};

/// The coordinator, in rank 0's process: decides which worker trains which visit and who holds which state, and alone
/// writes the journal. In the journal's commits `state` is empty: where bytes are is known to the workers' books. All
/// on the loop's thread.
///
/// A trial begins a visit at a living home of the partition; the state comes there by a hop, unless it is there. When
/// the visit is trained, the state is copied to as many workers as `state_replicas` asks for, first where the trial
/// goes next, so that the copy is the hop; then it is committed, and older states go. Whatever a worker had under way
/// when it died is trained again, from the state before. The last state of a trial comes home to rank 0.
///
/// A data-parallel trial's visit is a team's: the state goes to each of its members, each trains its share, and each
/// says what came of it, which must be equal. Who loses a member gives the visit up at all of them.
class HoppingTrainer final : public VisitTrainer {
 public:
  explicit HoppingTrainer(HoppingParts parts);
  /// Tells the workers to leave, if finish() has not.
  ~HoppingTrainer() override;

  void open(Journal& journal) override { journal_ = &journal; }
  void take_up(TrialEntries) override {}
  void want(const TrialEntry&) override {}  // a worker prepares when a visit comes
  void let_go(const TrialEntry& trial) override;
  /// Throws Failure(interrupted) when nothing could go on for `wait_for_worker_s`.
  void start_visits(TrialEntries trials, bool paused) override;
  /// Throws what ended rank 0's worker, and Failure(interrupted) when a trial got nowhere for `wait_for_worker_s`
  /// although it was tried.
  std::vector<VisitEnd> wait(double timeout_s) override;
  void abandon(TrialEntry& trial) override;
  void release(TrialEntry&) override {}
  void share(const TrialEntry& parent, const TrialEntry& clone) override;
  /// Waits, bounded, until states that are on their way have come, those of ended trials to rank 0, and until workers
  /// have left.
  void finish() override;
  std::vector<ActiveReport> active() const override;
  Bytes disk_room() const override;
  void nudge() override { parts_.end.wake(); }

  const HoppingReport& report() const { return report_; }
  /// What the devices of a worker do, as it said last; none while it is away.
  const std::vector<Progress::Device>& devices(std::uint32_t worker) const { return members_[worker].progress.devices; }

 private:
  struct Member {
    std::optional<WorkerId> id;                    // from its Hello on
    std::optional<std::vector<HeldState>> brings;  // that it said, until start_visits() has looked at it
    Progress progress;
    bool accounted = false;  // it has said its last words
    bool known = false;      // it has been here
    std::string broken;      // what it said before it left
  };
  /// A worker judges a trained state on these partitions.
  struct Judging {
    std::uint64_t order = 0;
    std::vector<std::uint32_t> partitions;
  };
  /// Attempts that came to nothing, in a row.
  struct Nowhere {
    std::uint32_t times = 0;
    double since_s = 0, last_s = 0;
  };
  /// What is known of a trial beside its entry.
  struct Job {
    TrialEntry* entry = nullptr;
    std::optional<std::uint32_t> number;                      // in the shop, once it is there
    std::optional<PlacedVisit> visit;                         // under way
    std::uint64_t order = 0;                                  // of that visit: number of its Trains
    bool asked = false;                                       // they have been sent
    std::map<std::uint32_t, Trained> said;                    // by its workers that are ready, until all are
    std::map<std::uint32_t, std::vector<TrainedPart>> parts;  // what its workers have said of it, until the rest comes
    std::optional<Trained> trained;                           // what came of it, until it is committed
    std::set<std::uint32_t> copies;                           // workers that hold that
    bool to_judge = false;                     // it counts when it is judged on each partition of validation rows
    std::map<std::uint32_t, Judged> judged;    // by partition, as far as it is
    std::map<std::uint32_t, Judging> judging;  // by worker
    std::set<std::uint32_t> holders;           // workers that hold the committed state, dead ones too
    std::vector<HeldBlob> blobs;               // of the committed state
    std::uint32_t failed_hops = 0;             // since the visit began, or an end had to leave
    std::uint32_t failed_teams = 0;            // since the last commit
    std::uint32_t disagreements = 0;           // of its teams, since then
    Nowhere nowhere;                           // since something came of a hop or a team
    bool at_home = false;                      // it has ended, and nobody else's copy is needed
  };
  struct Flight {
    std::string trial;
    std::uint32_t from = 0, to = 0;
    std::string digest;  // of the trial's parameters
    Bytes bytes = 0;
    std::optional<HopEnd> sent, received;
  };
  struct Way {
    std::uint32_t from = 0, to = 0;
  };

  // hopping_trainer.cc: what is to be trained, and where
  Job& job_of(TrialEntry& trial);
  const std::vector<Job*>& jobs_of(TrialEntries trials);
  void sync(Job& job, bool paused);
  void begin(const PlacedVisit& visit);
  void ask(Job& job);
  void stop_visit(Job& job);
  void call_back(Job& job);
  /// It is here, and what it brought is known: what it gets from now on is not taken for what it came without.
  bool alive(std::uint32_t worker) const { return members_[worker].id && !members_[worker].brings; }
  std::uint32_t living() const;
  void send(std::uint32_t worker, const ToWorker& message);
  void send_all(const ToWorker& message);
  void check_waiting(TrialEntries trials, bool paused);
  std::string what_is_missing(TrialEntries trials) const;
  std::string what_its_team_misses(const Job& job) const;

  // hopping_members.cc: workers that come and go
  void heard(const CoordinatorEvent& event);
  void heard(std::uint32_t worker, const ToCoordinator& message);
  void said_broken(std::uint32_t worker, const Broken& broken);
  void greeted(const WorkerId& worker, Hello hello);
  void settle_holdings();
  void share_with_clones(std::uint32_t worker, std::vector<HeldState>& brings);
  void lost(const WorkerId& worker, const std::string& why, bool left = false);
  void note(std::uint32_t worker, const Account& account);
  void note_last(std::uint32_t worker);  ///< of an incarnation that says nothing more

  // hopping_judging.cc: a trained state is judged where the validation rows are
  bool judges_by_hops() const { return !parts_.valid_placement.homes.empty(); }
  std::vector<std::uint32_t> partitions_to_judge(const Job& job) const;
  bool is_judged(const Job& job) const;
  std::vector<std::uint32_t> judges_missing(const Job& job) const;
  void order_judging(Job& job);
  void evaluated(std::uint32_t worker, Evaluated end);
  bool lost_judging(std::uint32_t worker, const Missing& end);
  Job* judged_by(const std::string& trial, std::uint64_t order);
  void stop_judging(Job& job);
  bool waits_for_validation(const Job& job) const;
  void add_score(Job& job, Trained& done) const;

  // hopping_commits.cc: from a trained visit to its commit
  void trained(std::uint32_t worker, TrainedPart part);
  void trained(std::uint32_t worker, Trained end);
  void note_failed_visit(const TrialEntry& trial, std::uint32_t partition);
  void failed(const Failed& end);
  void missing(std::uint32_t worker, const Missing& end);
  void parted(std::uint32_t worker, const Parted& end);
  bool agrees(Job& job);
  Job* ordered(const std::string& trial, std::uint64_t order);
  void set_holders(Job& job, std::set<std::uint32_t> holders);
  void get_on(Job& job);
  void commit(Job& job);
  void expect_bytes(const Job& job, const Trained& done);
  std::optional<std::uint32_t> goes_next(const Job& job) const;

  // hopping_hops.cc: states on their way
  std::optional<std::uint32_t> sender_to(std::uint32_t worker, const std::set<std::uint32_t>& have,
                                         std::optional<std::uint32_t> first = {}) const;
  std::optional<Way> way_to(const Job& job, std::uint32_t worker, const std::set<std::uint32_t>& have,
                            std::optional<std::uint32_t> first = {}) const;
  void order_hop(Job& job, std::uint32_t from, std::uint32_t to, std::uint32_t visits,
                 const std::vector<HeldBlob>& blobs, bool leaves = false);
  bool order_starts(Job& job);
  bool all_can_start(const Job& job) const;
  bool under_way_to(const std::string& trial, const std::string& digest, std::uint32_t worker) const;
  bool is_crowded(std::uint32_t worker) const;
  std::size_t copies_coming(const Job& job) const;
  void ended(std::uint32_t worker, const HopEnd& end);
  void arrived(const Flight& flight);
  void torn(const Flight& flight, const std::string& why);
  void give_up_on(const Flight& flight, const std::string& why);
  bool goes_around(const Job& job, const Flight& flight) const;
  void gets_nowhere(Job& job, const std::string& why);
  void bring_home(Job& job);

  HoppingParts parts_;
  Journal* journal_ = nullptr;
  TrialEntries trials_;  // as start_visits() was last told
  OpenShop shop_;
  std::vector<Member> members_;      // by rank
  std::map<std::string, Job> jobs_;  // by trial
  std::vector<Job*> by_number_;      // of the shop
  std::vector<Job*> in_order_;       // of the loop's trials, as far as start_visits() has seen them
  std::map<std::uint64_t, Flight> flights_;
  CutLinks cut_links_;
  std::uint64_t links_ordered_ = 0, visits_ordered_ = 0;
  std::vector<VisitEnd> ends_;  // for the next wait()
  std::optional<double> waiting_since_s_;
  const double begun_s_;
  bool home_broke_ = false;  // worker 0, without whom there is no run
  bool finishing_ = false;
  bool finished_ = false, interrupted_ = false;  // as the workers were told
  HoppingReport report_;
};

}  // namespace hopyard
