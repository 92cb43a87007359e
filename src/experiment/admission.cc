// Two-level admission: which trials' state the host tier holds (DESIGN "Two-level admission").
#include <algorithm>

#include "experiment/experiment.h"
#include "hopper/visit_order.h"

namespace hopyard {

namespace {

/// A trial that waits is overtaken by smaller ones at most so often.
constexpr std::uint32_t kPassedOverMax = 8;

}  // namespace

std::uint32_t Experiment::active_count() const {
  return static_cast<std::uint32_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) { return entry->run != nullptr; }));
}

void Experiment::admit() {
  std::vector<Entry*> waiting;
  for (auto& entry : entries_)
    if (entry->has_work() && entry->run == nullptr && features_ready(*entry)) waiting.push_back(entry.get());
  // Least progress first, so that the active set goes round; then in the order of asking.
  std::stable_sort(waiting.begin(), waiting.end(),
                   [](const Entry* a, const Entry* b) { return a->status.visits_done < b->status.visits_done; });
  Entry* passed = nullptr;
  for (Entry* entry : waiting) {
    if (parts_.active_trials && active_count() >= *parts_.active_trials) return;
    if (passed != nullptr && passed->passed_over >= kPassedOverMax) return;
    if (try_admit(*entry)) {
      if (passed != nullptr) ++passed->passed_over;
      entry->passed_over = 0;
    } else if (passed == nullptr) {
      passed = entry;
    }
  }
}

bool Experiment::try_admit(Entry& entry) {
  const Bytes frozen = parts_.frozen.missing_bytes(*entry.setup.source, shared_layers(entry.setup), entry.setup.seed);
  const Bytes need = entry.setup.window + trial_overhead_bytes(entry.setup) + frozen;
  if (need > parts_.host.capacity() - parts_.host.used()) return false;  // without reading anything
  auto grant = grant_trial(entry.setup, parts_.host, parts_.frozen, materialiser_.features(entry.setup));
  if (!grant) return false;  // a trial that was cut while it ran took the room
  entry.run = std::make_shared<TrialRun>(entry.setup, std::move(*grant), parts_.disk, parts_.pool,
                                         [&executor = parts_.executor] { executor.wake(); });
  if (entry.state.empty())
    entry.run->initialise();
  else
    entry.run->restore(entry.state);
  if (entry.status.state == TrialState::waiting) entry.status.state = TrialState::active;
  start_visit(entry);
  return true;
}

bool Experiment::others_are_behind(const Entry& entry) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& other) {
    // What waits for features needs no place yet, unless they wait for one.
    return other->has_work() && other->run == nullptr && other->status.visits_done < entry.status.visits_done &&
           (features_ready(*other) || materialiser_.waits());
  });
}

std::uint32_t Experiment::partition_of(const Entry& entry, std::uint32_t visits_done) const {
  const std::uint32_t count = parts_.partitions;
  return visited_partition(entry.setup.visit_seed, visits_done / count, visits_done % count, count);
}

bool Experiment::features_ready(const Entry& entry) const {
  return entry.setup.first_layer == 0 ||
         materialiser_.ready(entry.setup, partition_of(entry, entry.status.visits_done));
}

std::vector<FeatureDemand> Experiment::feature_demands() const {
  std::vector<FeatureDemand> demands;
  for (const auto& entry : entries_) {
    if (!entry->has_work() || entry->setup.first_layer == 0) continue;
    const std::uint32_t visits = entry->status.visits_done + (entry->under_way ? 1 : 0);
    if (visits < entry->visits_wanted) demands.push_back({&entry->setup, partition_of(*entry, visits), visits});
  }
  return demands;
}

}  // namespace hopyard
