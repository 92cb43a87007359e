// What a person's operation means and whether it may be: pure. The loop carries it out (steer.cc).
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "base/journal.h"

namespace hopyard {

/// A trial as steering sees it.
struct SteeredTrial {
  enum class Visit { none, training, committing };
  TrialSpec spec;
  TrialState state = TrialState::waiting;
  std::string reason;
  std::uint32_t visits_done = 0, visits_per_epoch = 1, epochs = 1;
  Visit visit = Visit::none;  ///< under way
  bool held = false;          ///< by `pause`
  bool ended() const { return state > TrialState::active; }
  std::uint32_t visits_total() const { return visits_per_epoch * epochs; }
};

struct SteeringView {
  std::vector<SteeredTrial> trials;
  bool paused = false;  ///< the whole experiment
  std::vector<Operation> operations;
  std::uint64_t seed = 0;  ///< of the experiment
};

/// An operation ready for the journal, but for its time.
struct Decision {
  Operation operation;
  std::string boundary;             ///< for people: "at the end of the visit under way (epoch 1, visit 2 of 4)"
  std::optional<TrialSpec> clone;   ///< the trial that it makes
  std::vector<std::string> before;  ///< of each change, the value until now; empty where the config says it
};

/// Failure(usage) is the refusal, as a sentence.
Decision decide(const SteeringView& view, const OperationRequest& request);

/// The trial that a clone operation makes, from its parent's spec and the operations before it.
TrialSpec clone_of(const TrialSpec& parent, const Operation& clone, const std::vector<Operation>& operations,
                   std::uint32_t visits_per_epoch, std::uint64_t experiment_seed);

/// "by kim at 2026-11-26 14:02:11: overfits".
std::string signature(const Operation& operation);
/// What the journal says of a trial that was stopped: "by kim: overfits".
std::string stop_reason(const OperationRequest& request);

/// The newest operation of these verbs on the trial (empty: on the whole experiment) that was not refused; null when
/// there is none.
const Operation* newest(const std::vector<Operation>& operations, const std::string& trial,
                        std::initializer_list<OperationVerb> verbs);

/// The records as the search may see them after a restart: of trials that a person made nothing; of those that a person
/// resumed only what came before, and that they ended.
std::vector<TrialRecord> for_search(const std::vector<TrialRecord>& records, const std::vector<Operation>& operations,
                                    std::uint32_t visits_per_epoch);

}  // namespace hopyard
