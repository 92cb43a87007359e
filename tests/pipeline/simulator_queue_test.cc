// Longer queues of chosen tasks, what they take over, and estimates of long training.
#include <gtest/gtest.h>

#include <algorithm>

#include "partitioner/toy_models.h"
#include "sim_trials.h"

namespace hopyard {
namespace {

TEST(SimulatorQueue, ALongerQueueSpreadsTheLink) {
  // Shards that alternate between much compute and much transfer; in sum both take 20 s a round. One place ahead, each
  // load has one compute to hide behind.
  std::vector<SimTask> tasks;
  for (std::uint32_t shard = 0; shard < 8; ++shard) {
    const bool heavy = shard % 4 == 0;
    tasks.push_back({.shard = shard, .compute_s = heavy ? 7.0 : 1.0, .load_s = heavy ? 1.0 : 3.0, .state_bytes = 10});
  }
  SimOptions options = one_device(200);
  const double near = predict_makespan({trial_of(tasks, 10)}, options);
  options.lookahead = 8;
  const SimResult far = simulate({trial_of(tasks, 10)}, options);
  EXPECT_EQ(far.makespan_s, 10 * 20 + 1);
  EXPECT_GT(near, 1.2 * far.makespan_s);
  EXPECT_LE(far.devices[0].peak_bytes, 9 * 10u);
  options.memory = 20;  // no room for more than one beside
  EXPECT_EQ(predict_makespan({trial_of(tasks, 10)}, options), near);
}

TEST(SimulatorQueue, OneCutTrialComesNearerTheBoundWithALongerQueue) {
  // A link on which a step's transfers take as long as its compute.
  const auto plan_for = [](double gib_per_s) {
    const DeviceLimits device = emulated(256 * MiB, gib_per_s * GiB);
    return std::pair(*partition_dp(minilm(), device).plan, device);
  };
  double link = 1;
  while (plan_for(link).first.transfer_s > plan_for(link).first.compute_s) link *= 1.1;
  const auto [plan, device] = plan_for(link);
  const auto step = training_step(plan, device);
  double compute = 0, load = 0, store = 0;
  for (const SimTask& task : step) compute += task.compute_s, load += task.load_s, store += task.store_s;
  SimOptions options = one_device(1 * GiB);  // more than the cuts are for: room for the queue
  const double near = predict_makespan({trial_of(step, 50)}, options) / (50 * std::max({compute, load, store}));
  options.lookahead = 8;
  const double far = predict_makespan({trial_of(step, 50)}, options) / (50 * std::max({compute, load, store}));
  EXPECT_LT(far, near);
  EXPECT_LT(far, 1.05);
}

TEST(SimulatorQueue, AReaderInTheQueueSharesTheBytesOfTheTaskBefore) {
  const SimTask backward{.compute_s = 1, .load_s = 4, .store_s = 3, .state_bytes = 30, .stored_bytes = 30};
  const SimTask forward{.compute_s = 2, .load_s = 4, .state_bytes = 10};
  SimOptions options = one_device(30);
  options.lookahead = 8;
  const SimResult result = simulate({trial_of({backward, forward, forward})}, options);
  EXPECT_EQ(result.devices[0].load_s, 4);
  EXPECT_EQ(result.makespan_s, 4 + 1 + 2 + 2);
  EXPECT_EQ(result.devices[0].peak_bytes, 30u);
}

TEST(SimulatorQueue, AnUpdateBesideIsWaitedForByItsTrialAlone) {
  const SimTask backward{.compute_s = 1, .load_s = 1, .store_s = 9, .state_bytes = 10, .stored_bytes = 10};
  const SimTask update{.host_update_s = 5, .beside = true};
  const SimTask forward{.compute_s = 1, .load_s = 1, .state_bytes = 10};
  SimOptions options = one_device(100);
  for (const std::uint32_t lookahead : {1, 8}) {
    options.lookahead = lookahead;
    const SimResult result = simulate({trial_of({backward, update, forward})}, options);
    EXPECT_EQ(result.makespan_s, 1 + 1 + 9 + 5 + 1 + 1);
    EXPECT_EQ(result.devices[0].busy_s, 2);
    EXPECT_EQ(result.devices[0].tasks, 2u);
    EXPECT_EQ(predict_makespan({trial_of({backward, update})}, options), 1 + 1 + 9 + 5) << "the visit ends with it";
  }
  // Of three trials, two compute while the third is updated: the device never waits.
  const SimTask step{.compute_s = 4, .load_s = 1, .store_s = 1, .state_bytes = 10, .stored_bytes = 10};
  const SimTask beside{.host_update_s = 4, .beside = true};
  const SimTask on_device{.shard = 1, .compute_s = 4};
  const auto three = [](const SimTrial& trial) { return std::vector{trial, trial, trial}; };
  EXPECT_EQ(predict_makespan(three(trial_of({step, beside}, 10)), options), 1 + 30 * 4 + 1 + 4);
  EXPECT_GE(predict_makespan(three(trial_of({step, on_device}, 10)), options), 30 * (4 + 4));
}

TEST(SimulatorQueue, OfUpdatesBesideTheFirstThatIsHomeIsMadeFirst) {
  // The last backward's gradients come home last, and its shard is read first.
  const SimTask last{.shard = 1, .compute_s = 1, .store_s = 1, .state_bytes = 10, .stored_bytes = 10};
  const SimTask first{.shard = 0, .compute_s = 1, .store_s = 3, .state_bytes = 10, .stored_bytes = 10};
  const SimTask update_first{.shard = 0, .host_update_s = 1, .beside = true};
  const SimTask update_last{.shard = 1, .host_update_s = 2, .beside = true};
  const SimTask forward{.shard = 0, .compute_s = 1, .load_s = 1, .state_bytes = 10};
  const SimOptions options = one_device(100);
  EXPECT_EQ(predict_makespan({trial_of({last, first, update_first, update_last, forward})}, options),
            1 + 1 + 3 + 1 + 1 + 1);
}

TEST(SimulatorQueue, AShardThatIsUpdatedAfterItsStoreIsHomeAfterThat) {
  const SimTask backward{
      .compute_s = 1, .load_s = 1, .store_s = 2, .state_bytes = 10, .stored_bytes = 10, .host_update_s = 3};
  const SimTask forward{.compute_s = 1, .load_s = 1, .state_bytes = 10};
  SimTask other = forward;
  other.shard = 1;
  const SimOptions options = one_device(100);
  EXPECT_EQ(predict_makespan({trial_of({backward, forward})}, options), 1 + 1 + 2 + 3 + 1 + 1);
  EXPECT_EQ(predict_makespan({trial_of({backward, other, forward})}, options), 1 + 1 + 2 + 3 + 1 + 1);
}

TEST(SimulatorQueue, AWriterInTheQueueWaitsUntilItsBytesAreHome) {
  const SimTask update{.compute_s = 1, .load_s = 1, .store_s = 2, .state_bytes = 10, .stored_bytes = 10};
  SimOptions options = one_device(100);
  options.lookahead = 8;
  EXPECT_EQ(predict_makespan({trial_of({update}, 3)}, options), 3 * (1 + 1 + 2));
}

TEST(SimulatorQueue, ADeviceQueuesNothingMoreOfSeveralTrialsWhileAnotherStarves) {
  // Two trials: with longer queues, either device could hold both and leave the other without.
  const SimTask a{.shard = 0, .compute_s = 2, .load_s = 1, .state_bytes = 1};
  const SimTask b{.shard = 1, .compute_s = 2, .load_s = 1, .state_bytes = 1};
  SimOptions options = on_devices(2);
  options.memory = 100;
  options.lookahead = 8;
  const SimResult result = simulate({trial_of({a, b}, 10), trial_of({a, b}, 10)}, options);
  EXPECT_EQ(result.makespan_s, 1 + 20 * 2);
}

TEST(SimulatorQueue, TrialsThatMoveNothingAreNotQueuedAhead) {
  const std::vector<SimTrial> trials{unit_trial(10, 1), unit_trial(10, 1), unit_trial(10, 2)};
  SimOptions options = on_devices(2);
  const double one = predict_makespan(trials, options);
  options.lookahead = 8;
  EXPECT_EQ(predict_makespan(trials, options), one);
}

TEST(EstimateMakespan, LongTrainingIsEstimatedFromAPartOfIt) {
  SimTrial trial;
  const SimTask task{.compute_s = 1, .load_s = 1, .store_s = 0, .state_bytes = 1};
  SimTask other = task;
  other.shard = 1;
  trial.phases = {{{task, other}, 500, true, 3}, {{task}, 40, true, 3}};
  trial.rounds = 30;
  SimTrial once = trial;
  once.rounds = 1;
  for (const std::vector<SimTrial>& trials : {std::vector{trial}, std::vector{once}, std::vector{trial, trial, once}}) {
    const double exact = predict_makespan(trials, on_devices(2));
    EXPECT_EQ(estimate_makespan(trials, on_devices(2), 1'000'000), exact);
    EXPECT_NEAR(estimate_makespan(trials, on_devices(2), 300) / exact, 1, 0.05);
  }
  trial.rounds = 1'000'000'000'000;
  EXPECT_NEAR(estimate_makespan({trial}, on_devices(1), 10'000) / (1e12 * (1000 + 40 + 6)), 1, 0.01);
}

}  // namespace
}  // namespace hopyard
