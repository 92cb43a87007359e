// Two-level admission: which trials' state the host tier holds (DESIGN "Two-level admission").
#include <algorithm>

#include "experiment/local_trainer.h"

namespace hopyard {

namespace {

/// A trial that waits is overtaken by smaller ones at most so often.
constexpr std::uint32_t kPassedOverMax = 8;

}  // namespace

std::uint32_t LocalTrainer::active_count() const {
  return static_cast<std::uint32_t>(
      std::count_if(held_.begin(), held_.end(), [](const auto& held) { return held.second.run != nullptr; }));
}

/// Runs whose visit is committed train the next one, or give back what they hold: the trial pauses, or the active set
/// goes round and admit() brings in those that are behind.
void LocalTrainer::go_on(TrialEntries trials, bool paused) {
  for (const auto& trial : trials) {
    Held& held = held_of(*trial);
    if (held.run == nullptr || trial->under_way) continue;
    if (!paused && trial->has_work() && !others_are_behind(trials, *trial)) {
      const bool ready = features_ready(*trial);
      if (ready) start_visit(*trial);
      if (ready || !materialiser_.waits()) continue;  // what it waits for is on its way, unless that waits for room
    }
    held.run.reset();
    if (!trial->ended()) trial->status.state = TrialState::waiting;
  }
}

void LocalTrainer::admit(TrialEntries trials) {
  std::vector<TrialEntry*> waiting;
  for (const auto& trial : trials)
    if (trial->has_work() && held_of(*trial).run == nullptr && features_ready(*trial)) waiting.push_back(trial.get());
  // Least progress first, so that the active set goes round; then in the order of asking.
  std::stable_sort(waiting.begin(), waiting.end(), [](const TrialEntry* a, const TrialEntry* b) {
    return a->status.visits_done < b->status.visits_done;
  });
  Held* passed = nullptr;
  for (TrialEntry* trial : waiting) {
    if (parts_.active_trials && active_count() >= *parts_.active_trials) return;
    if (passed != nullptr && passed->passed_over >= kPassedOverMax) return;
    if (try_admit(*trial)) {
      if (passed != nullptr) ++passed->passed_over;
      held_of(*trial).passed_over = 0;
    } else if (passed == nullptr) {
      passed = &held_of(*trial);
    }
  }
}

bool LocalTrainer::try_admit(TrialEntry& trial) {
  const Bytes frozen = parts_.frozen.missing_bytes(*trial.setup.source, shared_layers(trial.setup), trial.setup.seed,
                                                   frozen_form(trial.setup));
  const Bytes need = trial.setup.window + trial_overhead_bytes(trial.setup) + frozen;
  if (need > parts_.host.capacity() - parts_.host.used()) return false;  // without reading anything
  auto grant = grant_trial(trial.setup, parts_.host, parts_.frozen, materialiser_.features(trial.setup));
  if (!grant) return false;  // a trial that was cut while it ran took the room
  Held& held = held_of(trial);
  held.run = std::make_shared<TrialRun>(trial.setup, std::move(*grant), parts_.disk, parts_.pool,
                                        [&executor = parts_.executor] { executor.wake(); });
  if (trial.digest.empty())
    held.run->initialise();
  else
    held.run->restore(trial.state);
  if (trial.status.state == TrialState::waiting) trial.status.state = TrialState::active;
  start_visit(trial);
  return true;
}

bool LocalTrainer::others_are_behind(TrialEntries trials, const TrialEntry& trial) {
  return std::any_of(trials.begin(), trials.end(), [&](const auto& other) {
    // What waits for features needs no place yet, unless they wait for one.
    return other->has_work() && held_of(*other).run == nullptr &&
           other->status.visits_done < trial.status.visits_done && (features_ready(*other) || materialiser_.waits());
  });
}

bool LocalTrainer::features_ready(const TrialEntry& trial) const {
  return trial.setup.first_layer == 0 ||
         materialiser_.ready(trial.setup, trial.partition_after(trial.status.visits_done));
}

std::vector<FeatureDemand> LocalTrainer::feature_demands(TrialEntries trials) const {
  std::vector<FeatureDemand> demands;
  for (const auto& trial : trials) {
    if (!trial->has_work() || trial->setup.first_layer == 0) continue;
    const std::uint32_t visits = trial->status.visits_done + (trial->under_way ? 1 : 0);
    if (visits < trial->visits_wanted) demands.push_back({&trial->setup, trial->partition_after(visits), visits});
  }
  return demands;
}

}  // namespace hopyard
