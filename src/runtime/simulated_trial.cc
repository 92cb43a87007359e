#include "runtime/simulated_trial.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "partitioner/shard_tasks.h"
#include "pipeline/batches.h"
#include "pipeline/frozen_store.h"
#include "planner/sharing.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kSimulatedVisitsMax = 32;  // of an epoch

/// Of each shard, what its frozen bytes are, where trials share them.
std::vector<std::uint64_t> frozen_contents(const TrialSetup& setup) {
  std::vector<std::uint64_t> contents;
  const auto shared = shared_layers(setup);
  for (const auto& shard : setup.plan.shards) {
    std::string keys;
    for (const auto layer : shared)
      if (shard.holds(layer))
        keys += content_key(*setup.source, layer, setup.seed) +
                (setup.limits.frozen_copies ? "#" + to_string(setup.train.precision) + "\n" : "\n");
    contents.push_back(keys.empty() ? 0 : std::max<std::uint64_t>(1, std::hash<std::string>()(keys)));
  }
  return contents;
}

/// What the visits of a trial are made of, for the simulator.
struct SimVisits {
  const TrialSetup& setup;
  std::vector<SimTask> training, evaluation;
  double commit_s = 0;

  /// The first `end` visits of an epoch, and an evaluation. Where there are many, some follow each other as one, with
  /// all their commits.
  void add_to(SimTrial& trial, std::uint32_t end) const;
};

void SimVisits::add_to(SimTrial& trial, std::uint32_t end) const {
  const std::uint32_t batch_size = setup.train.batch_size, phases = std::min(end, kSimulatedVisitsMax);
  for (std::uint32_t phase = 0; phase < phases; ++phase) {
    const auto from = static_cast<std::uint32_t>(std::uint64_t{phase} * end / phases);
    const auto to = static_cast<std::uint32_t>((std::uint64_t{phase} + 1) * end / phases);
    std::uint64_t steps = 0;
    for (std::uint32_t visit = from; visit < to; ++visit)
      steps += batch_count(setup.partitions->rows(setup.partitions->to_visit()[visit]), batch_size);
    trial.phases.push_back({training, steps, true, (to - from) * commit_s});
  }
  if (setup.valid_rows == 0) return;
  SimPhase& last = trial.phases.back();
  last.ends_visit = false;
  std::uint64_t batches = 0;
  for (const auto p : setup.valid_partitions->to_visit())
    batches += batch_count(setup.valid_partitions->rows(p), batch_size);
  trial.phases.push_back({evaluation, batches, true, last.commit_s});
}

}  // namespace

SimTrial simulated_trial(const TrialSetup& setup, const Epochs& epochs, double commit_s) {
  const auto frozen = frozen_contents(setup);
  auto training = training_step(setup.plan, setup.limits, frozen);
  auto evaluation = evaluation_pass(setup.plan, setup.limits, frozen);
  if (setup.first_layer > 0)
    for (auto* tasks : {&training, &evaluation}) {
      const double read_s = feature_row_s(setup, setup.first_layer) * setup.train.batch_size;
      (has_link(setup.limits) ? tasks->front().load_s : tasks->front().compute_s) += read_s;
    }
  const SimVisits visits{setup, std::move(training), std::move(evaluation), commit_s};
  const auto count = static_cast<std::uint32_t>(setup.partitions->to_visit().size());
  const std::uint32_t all = epochs.visits(count), rest = all % count;
  SimTrial trial;
  trial.rounds = rest == 0 ? all / count : 1;
  for (std::uint32_t epoch = 0; epoch < (rest == 0 ? 1 : all / count); ++epoch) visits.add_to(trial, count);
  if (rest > 0) visits.add_to(trial, rest);
  return trial;
}

double device_seconds(const SimTrial& trial) {
  double seconds = 0;
  for (const auto& phase : trial.phases)
    for (const auto& task : phase.tasks) seconds += task.compute_s * static_cast<double>(phase.repeats);
  return seconds * static_cast<double>(trial.rounds);
}

}  // namespace hopyard
