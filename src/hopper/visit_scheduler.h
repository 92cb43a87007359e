// Which trial's visit a worker with a free place trains next: pure decisions on an OpenShop, the same for the
// coordinator and for the simulator.
//
// After anything has happened: tell the shop (begin, trained, commit, give_up, join, leave, add, want, hold), then
// begin what dispatch() returns. Equal shops get equal answers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hopper/open_shop.h"

namespace hopyard {

/// Has no state but what it was made with. Thread-safe. O(idle trials + partitions) a decision.
class VisitScheduler {
 public:
  virtual ~VisitScheduler() = default;
  /// What the worker, which has such a place, should begin; nothing when no idle trial has anything for it.
  virtual std::optional<PlacedVisit> for_worker(const OpenShop& shop, std::uint32_t worker, Place place) const = 0;
  /// Where the trial, which is idle, should go; nothing when no worker that has something for it has such a place.
  virtual std::optional<PlacedVisit> for_trial(const OpenShop& shop, std::uint32_t trial, Place place) const = 0;
  /// Where the team of the trial, which is idle, should go: at once, or, unless `now`, when its places are free;
  /// nothing when it cannot. O(partitions × replication).
  virtual std::optional<PlacedVisit> for_team(const OpenShop& shop, std::uint32_t trial, bool now) const = 0;
  /// Looking ahead: where the trial would go after this visit of its, which is under way, whether or not there is a
  /// place by then; nothing when it has no visit left, or no living home. That worker is the best one to hold a
  /// second copy of the state, since the copy is then the hop.
  virtual std::optional<PlacedVisit> after(const OpenShop& shop, const PlacedVisit& visit) const = 0;
};

/// seed: the trial's order of visits is given, by its rotation or by a record (visit_order.h); only when and, with
/// several homes, where is free. Of the
///   trials that wait for a worker, the one with the fewest visits behind it, then the longest remaining one: so the
///   groups of Rotations go round without gaps.
/// The others are `order: free`.
/// random: any visit that is possible, drawn evenly; Cerebro's default.
/// lrtf: the longest remaining trial first; those that are equal but for a visit or two keep to their rotations.
/// replica: lrtf, but a trial goes on where its state is, and otherwise to the home with the shortest queue.
/// patient: as seed; but a trial that would wait for kPatience visits of its length or more, behind a slow worker, or
///   for a worker that is dead, goes where there is a place. The default: the others' greed costs more at the end.
/// Of either order, since it never leaves the rotation:
/// task: task parallelism, a baseline. A trial stays where it began, which is home of all partitions, and a worker
///   begins one when those that stay with it leave a slot; the longest first. No teams.
enum class VisitSchedulerKind { seed, random, lrtf, replica, patient, task };
/// Those under which trials hop.
inline constexpr VisitSchedulerKind kVisitSchedulerKinds[] = {VisitSchedulerKind::seed, VisitSchedulerKind::random,
                                                              VisitSchedulerKind::lrtf, VisitSchedulerKind::replica,
                                                              VisitSchedulerKind::patient};
inline constexpr double kPatience = 8;
std::string to_string(VisitSchedulerKind kind);
/// Nothing when the word is none of them.
std::optional<VisitSchedulerKind> parse_visit_scheduler(std::string_view word);
/// `seed` is for random.
std::unique_ptr<VisitScheduler> make_visit_scheduler(VisitSchedulerKind kind, std::uint64_t seed);

/// Begins in the shop all visits that the scheduler chooses after what has changed, and returns them: first for places
/// that train, then for those that fetch ahead. A team whose turn has come goes before others, and if it cannot, it
/// claims its places, unless another one has a claim; a team whose turn has not takes what others leave.
std::vector<PlacedVisit> dispatch(OpenShop& shop, const VisitScheduler& scheduler);

/// Whom the state of this visit, which is under way, should be copied to, so that `copies` living workers hold it,
/// its own ones counted; fewer where fewer live. First where the trial goes next.
std::vector<std::uint32_t> replica_targets(const OpenShop& shop, const VisitScheduler& scheduler,
                                           const PlacedVisit& visit, std::uint32_t copies);

}  // namespace hopyard
