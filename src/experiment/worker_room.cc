// Trials that rest keep their runs while there is room, and give way to others when there is not.
#include "experiment/worker_trials.h"

#include <algorithm>
#include <utility>

namespace hopyard {

void WorkerTrials::get_on(bool others_wait) {
  meet_teams();
  for (auto& [id, trial] : trials_)
    if (can_begin(trial)) begin(trial);
  const auto short_of_room = [&] {
    return std::any_of(training_.begin(), training_.end(), [](const auto& entry) { return !entry->under_way; });
  };
  parts_.trainer.start_visits(training_, false);
  while ((others_wait || short_of_room()) && release_one()) {
    others_wait = false;
    parts_.trainer.start_visits(training_, false);
  }
}

void WorkerTrials::leave(const std::string& id, std::uint32_t visits) {
  const auto found = trials_.find(id);
  if (found == trials_.end() || found->second.asked || found->second.rests_at != visits) return;
  release(found->second);
}

void WorkerTrials::release(Trial& trial) {
  if (std::exchange(trial.rests_at, std::nullopt)) parts_.trainer.release(*trial.entry);
}

/// The one that has rested longest gives back its memory.
bool WorkerTrials::release_one() {
  for (const auto& entry : resting_) {
    Trial& trial = trials_.at(entry->status.spec.id);
    if (!trial.rests_at) continue;
    release(trial);
    return true;
  }
  return false;
}

}  // namespace hopyard
