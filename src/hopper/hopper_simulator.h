// The hopper's twin with a virtual clock: the same open shop and the same schedulers of visits, no tensors, clusters of
// any size. Pure: equal arguments give equal results, bit by bit.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "hopper/open_shop.h"
#include "hopper/visit_scheduler.h"

namespace hopyard {

/// A time in which a worker does nothing and answers nobody: dead, cut off, or not there yet. It comes back as a new
/// process: what it had under way is gone, what it had committed is on its disk.
struct SimOutage {
  double begin_s = 0;
  double end_s = std::numeric_limits<double>::infinity();
};

struct SimWorker {
  ShopWorker worker;               ///< `alive` is ignored: see outages
  std::vector<SimOutage> outages;  ///< ascending, apart; one that begins at 0 is a late joiner's
};

struct HopperSimSpec {
  Placement placement;
  std::vector<SimWorker> workers;
  std::vector<ShopTrial> trials;
  double hop_s = 0;                  ///< for a trial's state from one worker to another; links do not slow each other
  Bytes state_bytes = 0;             ///< of a trial
  std::uint32_t state_replicas = 1;  ///< a visit is committed when so many living workers hold its state
  double detect_s = 0;               ///< from a worker's death to the moment when the others hear of it
  bool keep_visits = true;           ///< whether the result has them
};

struct SimVisit {
  PlacedVisit visit;
  double begin_s = 0, trained_s = 0, committed_s = 0;
  bool operator==(const SimVisit&) const = default;
};

struct HopperSimResult {
  double makespan_s = 0;       ///< until the last commit
  std::vector<double> busy_s;  ///< of each worker: in which it trained anything
  Bytes network_bytes = 0;     ///< of state: to where a trial begins, hops and copies; and once to its end's place,
                               ///< where commits left no copy (formula: hopper_bytes)
  std::uint64_t commits = 0;
  std::uint64_t given_up = 0;    ///< visits that were begun and are not committed
  std::vector<SimVisit> visits;  ///< in the order of their commits
  std::string stuck;             ///< why it ended before all visits were committed; empty: it did not
  bool operator==(const HopperSimResult&) const = default;
};

/// A worker trains up to `slots` trials at a time, which share what its devices do; fetches what it does not hold; and
/// trains in the order in which states arrive. A team goes on at the rate of its slowest member, once all have a slot
/// for it. O(log events + a decision) a visit.
HopperSimResult simulate_hopper(const HopperSimSpec& spec, const VisitScheduler& scheduler);

/// Why this result is not what it must be: each (trial, epoch, partition) of the spec committed exactly once, a trial
/// in one visit at a time, an epoch begun after the one before was committed. Empty when it is. Needs keep_visits.
std::string exactly_once_fault(const HopperSimSpec& spec, const HopperSimResult& result);

}  // namespace hopyard
