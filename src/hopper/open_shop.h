// The state that schedulers of visits decide on: an open shop (Cerebro §4.1), whose jobs are trials, whose machines are
// workers, and whose operations are visits in any order. A plain value: no clock, no thread, no file.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hopper/bits.h"
#include "hopper/placement.h"

namespace hopyard {

/// A visit and where it is trained.
struct PlacedVisit {
  std::uint32_t trial = 0;
  std::uint32_t epoch = 0;
  std::uint32_t visit = 0;  ///< of the epoch: 0 … partitions − 1
  std::uint32_t partition = 0;
  std::uint32_t worker = 0;           ///< of a team, its leader
  std::vector<std::uint32_t> others;  ///< the rest of a team, ascending: each trains a share of every batch

  std::uint32_t size() const { return static_cast<std::uint32_t>(1 + others.size()); }
  /// Leader first.
  std::vector<std::uint32_t> members() const {
    std::vector<std::uint32_t> all{worker};
    all.insert(all.end(), others.begin(), others.end());
    return all;
  }
  bool is_at(std::uint32_t who) const { return who == worker || std::binary_search(others.begin(), others.end(), who); }
  bool operator==(const PlacedVisit&) const = default;
};
/// "trial 3, epoch 0, visit 2: partition 5 on worker 1"; of a team "on workers 1, 2".
std::ostream& operator<<(std::ostream& out, const PlacedVisit& visit);
std::string to_string(const PlacedVisit& visit);

struct ShopWorker {
  std::uint32_t slots = 1;      ///< trials that it trains at a time, by interleaving
  std::uint32_t lookahead = 0;  ///< trials beside them whose state it may fetch while those train
  std::uint32_t devices = 1;    ///< it does the work of so many trials in the time of one
  double speed = 1;             ///< a visit takes visit_s ÷ speed
  bool alive = true;
  bool operator==(const ShopWorker&) const = default;
};

/// A trial as it comes into the shop: new, or taken up from a journal.
struct ShopTrial {
  std::uint32_t epochs = 1;    ///< it is wanted trained until here
  std::uint32_t rotation = 0;  ///< of `order: seed` (visit_order.h)
  /// In place of what the rotation gives: partitions of its visits, from the first one of all; null: nothing.
  std::shared_ptr<const std::vector<std::uint32_t>> listed = {};
  double visit_s = 1;                   ///< predicted, at speed 1, by its whole team
  std::uint32_t degree = 1;             ///< workers that train a visit together: its team
  bool may_be_alone = false;            ///< where fewer homes of a partition live, one worker trains it
  std::uint32_t epoch = 0;              ///< the one under way: those before are all committed
  std::vector<std::uint32_t> visited;   ///< partitions committed in this epoch
  std::vector<std::uint32_t> holders;   ///< workers that hold its newest state; none: not trained yet, begins anywhere
  std::vector<std::uint32_t> own = {};  ///< partitions that it visits, ascending; empty: all
};

/// Where a trial stands. Holders that are dead hold it on their disks.
struct OpenTrial {
  std::uint32_t epochs = 1, rotation = 0;
  std::shared_ptr<const std::vector<std::uint32_t>> listed;
  double visit_s = 1;
  std::uint32_t degree = 1;
  bool may_be_alone = false;
  std::uint32_t epoch = 0;
  std::uint32_t visit = 0;  ///< the next of the epoch
  Bits to_visit;            ///< partitions that this epoch has left
  std::vector<std::uint32_t> holders;
  std::vector<std::uint32_t> own;        ///< partitions that it visits, ascending; empty: all
  std::optional<PlacedVisit> under_way;  ///< from begin() to commit() or give_up()
  std::optional<std::uint32_t> last_at;  ///< where its last visit, or the one under way, began
  bool trained = false;                  ///< under way, but for its commit
  bool alone = false;                    ///< one worker trains its next visit, though a team could
  bool held = false;                     ///< begins nothing: evaluates, is paused, was stopped
  std::uint64_t turn = 0;                ///< of a team, while idle: its turn comes when so many visits have begun

  bool done() const { return epoch >= epochs; }
  std::uint32_t visits_per_epoch() const {
    return own.empty() ? to_visit.size() : static_cast<std::uint32_t>(own.size());
  }
  Bits whole_epoch() const;  ///< what an epoch has to visit
  std::uint64_t visits_left() const;
  double remaining_s() const { return static_cast<double>(visits_left()) * visit_s; }
  /// The partition that `order: seed` has next. Requires !done().
  std::uint32_t next_in_order() const;
};

/// Which places of a worker count: those that train, or also those that fetch ahead.
enum class Place { train, fetch };

/// Keeps that each trial visits each partition, or each of its own, once an epoch, is in one visit at a time, and
/// begins an epoch when the one before is committed; whoever breaks that gets std::logic_error. O(replication) a
/// change, but for O(trials) when a worker comes or goes. Not thread-safe.
class OpenShop {
 public:
  /// A worker for each of the placement's.
  OpenShop(const Placement& placement, std::vector<ShopWorker> workers);

  // Trials are numbered from 0 as they come.
  std::uint32_t add(const ShopTrial& trial);
  /// More epochs, or fewer: those begun are not taken back.
  void want(std::uint32_t trial, std::uint32_t epochs);
  /// While held, a trial begins no visit; one under way goes on.
  void hold(std::uint32_t trial, bool held);
  /// The workers that hold its newest committed state, dead ones too.
  void held_by(std::uint32_t trial, std::vector<std::uint32_t> holders);
  /// What was measured since it came. Above 0.
  void predict(std::uint32_t trial, double visit_s);

  /// Whether trials that may be alone are now, where homes of a partition are missing: not while those are on their
  /// way.
  void let_alone(bool now);
  /// Of a trial that may be alone: whatever lives, one worker trains its visits until one is committed.
  void leave_alone(std::uint32_t trial);
  /// Comes, or comes back, with its partitions and with the states that it holds.
  void join(std::uint32_t worker);
  /// Is dead. What it had under way is given up and returned.
  std::vector<PlacedVisit> leave(std::uint32_t worker);

  /// Takes a place of each of its workers. Requires that the trial is idle, wants this epoch, visit and partition, and
  /// that they are living homes of it with a place; of a team, as many as team_size() says, with one for training each.
  void begin(const PlacedVisit& visit);
  /// From now until this team begins a visit, or cannot, its workers keep a place free for it, and no other team begins
  /// there. Requires that there is no claim: so teams never wait for each other in a circle.
  void claim(const PlacedVisit& visit);
  /// Its slot is free; its trial is not idle before the commit.
  void trained(const PlacedVisit& visit);
  /// It counts, and `holders` hold the new state, all others none that is of use. At least one.
  void commit(const PlacedVisit& visit, std::vector<std::uint32_t> holders);
  /// It is to be trained again, anywhere, from the state before.
  void give_up(const PlacedVisit& visit);

  std::uint32_t partitions() const { return static_cast<std::uint32_t>(placement_.homes.size()); }
  std::uint32_t trial_count() const { return static_cast<std::uint32_t>(trials_.size()); }
  const OpenTrial& trial(std::uint32_t trial) const { return trials_.at(trial); }
  const std::vector<ShopWorker>& workers() const { return workers_; }
  const Placement& placement() const { return placement_; }
  const std::vector<std::uint32_t>& homes(std::uint32_t partition) const { return placement_.homes[partition]; }
  const std::vector<std::uint32_t>& partitions_of(std::uint32_t worker) const { return partitions_of_[worker]; }
  Bits living() const;

  /// Trials that could begin a visit now: not done, held or under way, and a living worker holds their state. Without
  /// those that teams train, which are apart, in the order of becoming idle.
  const Bits& idle() const { return idle_; }
  bool is_idle(std::uint32_t trial) const;  ///< either
  const std::vector<std::uint32_t>& idle_teams() const { return idle_teams_; }
  /// First come, first served: as many visits have begun since the team became idle as trials were idle before it.
  bool has_turn(std::uint32_t trial) const { return begun_ >= trials_[trial].turn; }
  /// How many workers would train the trial's visit to the partition together; 0: too few homes of it live.
  std::uint32_t team_size(std::uint32_t trial, std::uint32_t partition) const;
  /// Whether the worker could begin a visit with the trial's team now. It is in one team at a time: members wait for
  /// each other at every step, which must not go in a circle.
  bool open_to_team(std::uint32_t trial, std::uint32_t worker) const;
  const std::optional<PlacedVisit>& claim() const { return claim_; }
  /// Trials whose epoch has the partition left, idle or not.
  const Bits& wanting(std::uint32_t partition) const { return wanting_[partition]; }
  /// Of those, trials that `order: seed` would have there next.
  const Bits& in_order(std::uint32_t partition) const { return in_order_[partition]; }
  /// How many visits have begun since the shop was made.
  std::uint64_t begun() const { return begun_; }
  /// Whether the worker lives and has such a place free; and partitions of which a home has.
  bool open(std::uint32_t worker, Place place) const { return room(worker, place); }
  const Bits& open_partitions(Place place) const { return open_partitions_[index(place)]; }
  /// Visits that hold a place of the worker: they train, fetch or wait.
  std::uint32_t occupied(std::uint32_t worker) const { return occupied_[worker]; }
  /// Time until the worker would begin one more visit, if all visits were like those it has and were at their begin.
  double queue_s(std::uint32_t worker) const;
  /// A worker to fetch a trial's state from: a living holder, that with the least to do; nothing when there is none.
  std::optional<std::uint32_t> source(std::uint32_t trial) const;
  bool done() const;
  /// Trials, not done or held, all of whose holders are dead.
  std::vector<std::uint32_t> stranded() const;

  /// Workers and trials to which something happened since the last call, that could have made a visit possible;
  /// ascending, once each.
  struct Changes {
    std::vector<std::uint32_t> workers, trials;
  };
  Changes take_changes();

 private:
  static std::size_t index(Place place) { return static_cast<std::size_t>(place); }
  bool room(std::uint32_t worker, Place place) const;
  bool is_claimed(std::uint32_t worker) const { return claim_ && claim_->is_at(worker); }
  void require_place(const PlacedVisit& visit, std::uint32_t worker) const;
  void drop_claim();
  void require_under_way(const PlacedVisit& visit) const;
  bool state_lives(const OpenTrial& trial) const;
  void refresh_idle(std::uint32_t trial);
  void occupy(const PlacedVisit& visit, bool more);
  void update_open(std::uint32_t worker);
  void want_all(std::uint32_t trial);
  void put_in_order(std::uint32_t trial, bool there);

  Placement placement_;
  std::vector<std::vector<std::uint32_t>> partitions_of_;
  std::vector<ShopWorker> workers_;
  std::vector<std::uint32_t> occupied_;
  std::vector<double> queued_s_;
  std::vector<OpenTrial> trials_;
  Bits idle_;
  std::vector<std::uint32_t> idle_teams_;
  Bits in_team_;  // by worker
  std::optional<PlacedVisit> claim_;
  bool let_alone_ = true;
  std::vector<Bits> wanting_, in_order_;
  std::uint64_t begun_ = 0;
  std::array<Bits, 2> is_open_;                           // by worker
  std::array<Bits, 2> open_partitions_;                   // with an open home
  std::array<std::vector<std::uint32_t>, 2> open_homes_;  // of each partition
  Bits changed_workers_, changed_trials_;
};

/// The whole state as text, a line for each worker and trial: for logs and for what a test prints.
std::string describe(const OpenShop& shop);

}  // namespace hopyard
