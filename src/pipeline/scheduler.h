// Which idle trial's next task goes to a device that is free: pure decisions, the same for the executor and the
// simulator.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace hopyard {

/// A trial that could run its next task now.
struct IdleTrial {
  std::uint32_t trial = 0;
  double remaining_s = 0;   ///< Sharded-LRTF: ((e−1)·b + c_e − 1)·t + c_m (Hydra §4.7; DESIGN "Interleaving")
  double total_s = 0;       ///< of the whole trial, as predicted when it was admitted (LPT)
  std::uint64_t begun = 0;  ///< number of its visit, in the order of beginning
};

/// An ordered set of idle trials. Not thread-safe. All operations are O(log n).
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  /// The trial became idle, with these numbers. A trial is in the set at most once.
  virtual void add(const IdleTrial& trial) = 0;
  /// The trial is not idle any more. Removing one that is not there does nothing.
  virtual void remove(std::uint32_t trial) = 0;
  virtual std::size_t size() const = 0;
  /// The best trial that `accepts` (fits the device now, data there), asked in order of preference, at most
  /// kPickAttempts of them. Does not remove it. `accepts` may prefer by affinity by refusing in a first call.
  virtual std::optional<std::uint32_t> pick(const std::function<bool(std::uint32_t trial)>& accepts) = 0;
};
inline constexpr int kPickAttempts = 64;

/// How a trial stands for choice where trials share frozen bytes.
struct Standing {
  double remaining_s = 0;
  double step_s = 0;     ///< of a whole step
  double step_left = 0;  ///< of the step that its next task belongs to: 1 at its begin, towards 0
  bool shares = false;  ///< its next task has frozen bytes in common with others that take longer to load than it takes
  bool loaded = false;  ///< and the device has them
};
/// pick() such that one load of frozen bytes serves many trials: among trials whose remaining time is within a step of
/// the best one's, the first whose bytes are on the device; without any, the one that is farthest behind in its step,
/// so that it meets the others. The best one itself where it shares nothing. For longest-remaining-first, whose order
/// is kept but for a step; `standing` is asked only for what `accepts`.
std::optional<std::uint32_t> pick_sharing(Scheduler& scheduler, const std::function<bool(std::uint32_t trial)>& accepts,
                                          const std::function<Standing(std::uint32_t trial)>& standing);

enum class SchedulerKind { lrtf, oldest, fifo, random, lpt, round_robin };
inline constexpr SchedulerKind kSchedulerKinds[] = {SchedulerKind::lrtf, SchedulerKind::oldest,
                                                    SchedulerKind::fifo, SchedulerKind::random,
                                                    SchedulerKind::lpt,  SchedulerKind::round_robin};
std::string to_string(SchedulerKind kind);
/// `seed` is for random. oldest: the visit that began first; others take what it leaves, so that visits end one after
/// another and each one's hop has somebody to hide behind. fifo: in the order of becoming idle. round_robin: by trial
/// number, after the last one picked.
std::unique_ptr<Scheduler> make_scheduler(SchedulerKind kind, std::uint64_t seed);

}  // namespace hopyard
