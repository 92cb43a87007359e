// A parameter server with bounded staleness, by rounds: what it keeps, and who may go on.
//
// After Li et al. (OSDI 2014, bounded delay) and Ho et al. (NIPS 2013, stale synchronous parallel): nobody begins step
// t before all have given the gradients of step t − staleness − 1, so that nobody is more than `staleness` steps ahead
// of the slowest.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pipeline/step_server.h"

namespace hopyard {

/// Thread-safe. Of each member the calls come one after the other: for each step begin(), add() of all its gradients if
/// there are any, end(). All throw ExchangeBroken once it is broken off.
class StaleServer {
 public:
  /// Nobody is waited for longer than `wait_s`.
  StaleServer(std::shared_ptr<ServedState> state, std::uint32_t members, double wait_s);

  void begin(std::uint32_t member, const StepReport& report);
  void add(std::uint32_t member, std::size_t part, std::size_t first, std::span<const float> gradients);
  /// Updates if that completes a step, then blocks until the member may go on.
  ServerEnd::Answer end(std::uint32_t member);
  void read(Served what, std::size_t part, std::size_t first, std::span<float> to);
  /// Of each step so far.
  std::vector<std::vector<double>> losses();
  /// Nothing more is to come of the member, nor to go to it.
  void leave(std::uint32_t member);
  /// Blocks until all others have left.
  void await_others(std::uint32_t member);
  /// Waits for nobody, also where an update is under way; who waits here lets go within moments.
  void break_off(const std::string& reason);

  ServedState& state() { return *state_; }

 private:
  struct Step {
    std::vector<double> losses;          ///< two of each micro-batch, of members that have begun it
    std::uint32_t begun = 0, given = 0;  ///< by so many members; of so many the gradients are here
    bool last = false;
  };
  struct Member {
    std::uint64_t steps = 0;  ///< it has given the gradients of so many
    std::uint64_t has = 0;    ///< its parameters have the updates of so many
    bool last = false, left = false;
  };
  bool only_one_left(std::uint32_t member) const;
  void require_whole() const;
  void complete_steps();
  template <class Condition>
  void await(std::unique_lock<std::mutex>& lock, const Condition& holds);

  const std::shared_ptr<ServedState> state_;
  const double wait_s_;
  std::mutex mutex_;  // guards all below but broken_, and the state
  std::condition_variable changed_;
  std::vector<Member> members_;
  std::vector<Step> steps_;
  std::uint64_t updates_ = 0;
  std::optional<std::uint64_t> diverged_;
  mutable std::mutex broken_mutex_;  // guards broken_
  std::optional<std::string> broken_;
};

}  // namespace hopyard
