// The simulator against cases that can be worked out by hand, and its promises on random sweeps.
#include "pipeline/simulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/rng.h"
#include "partitioner/toy_models.h"
#include "sim_trials.h"

namespace hopyard {
namespace {

using Mode = SimOptions::Mode;

double idle_s(const SimDevice& device) { return device.idle_load_s + device.idle_store_s + device.idle_no_work_s; }

// Hydra, Fig. 6: three models of two shards, each shard with a forward and a backward of one unit, on two devices.
std::vector<SimTrial> hydra_figure_6() {
  return std::vector<SimTrial>(3, trial_of({{.shard = 0, .compute_s = 1},
                                            {.shard = 1, .compute_s = 1},
                                            {.shard = 1, .compute_s = 1},
                                            {.shard = 0, .compute_s = 1}}));
}

TEST(HydraFigure6, ModelParallelTakes12TaskParallel8Sharp6) {
  SimOptions options = on_devices(2);
  options.mode = Mode::model_parallel;
  EXPECT_EQ(predict_makespan(hydra_figure_6(), options), 12);
  options.mode = Mode::task_parallel;
  EXPECT_EQ(predict_makespan(hydra_figure_6(), options), 8);
  options.mode = Mode::sharp;
  for (const bool competes : {true, false}) {
    options.successor_competes = competes;
    options.lookahead = competes ? 8 : 1;
    EXPECT_EQ(predict_makespan(hydra_figure_6(), options), 6);
  }
}

TEST(HydraFigure6, ModelParallelSharesTheWorkOutByShard) {
  SimOptions options = on_devices(2);
  options.mode = Mode::model_parallel;
  const SimResult result = simulate(hydra_figure_6(), options);
  EXPECT_EQ(result.devices[0].busy_s, 6);
  EXPECT_EQ(result.devices[1].busy_s, 6);
  EXPECT_EQ(result.devices[1].idle_no_work_s, 6);
}

TEST(Simulator, NothingToDoTakesNoTime) {
  EXPECT_EQ(predict_makespan({}, on_devices(2)), 0);
  SimTrial empty;
  empty.phases = {{}, {{{.compute_s = 1}}, 0}};
  EXPECT_EQ(predict_makespan({empty, unit_trial(2, 1)}, on_devices(1)), 2);
}

TEST(Simulator, DoubleBufferingHidesLoadsAndStores) {
  // Two shards of 10 bytes; each computes 2 s and moves 1 s either way.
  const SimTask task{.compute_s = 2, .load_s = 1, .store_s = 1, .state_bytes = 10, .stored_bytes = 10};
  SimTask other = task;
  other.shard = 1;
  const std::vector<SimTrial> trials{trial_of({task, other}, 2)};
  SimOptions options = one_device(30);
  const SimResult hidden = simulate(trials, options);
  EXPECT_EQ(hidden.makespan_s, 1 + 4 * 2 + 1);
  EXPECT_EQ(hidden.devices[0].idle_load_s, 1);
  EXPECT_EQ(hidden.devices[0].idle_store_s, 1);
  options.double_buffer = false;
  const SimResult serial = simulate(trials, options);
  EXPECT_EQ(serial.makespan_s, 4 * (1 + 2 + 1));
  EXPECT_EQ(serial.devices[0].idle_load_s, 4);
  EXPECT_EQ(serial.devices[0].idle_store_s, 4);
}

TEST(Simulator, ALoadWaitsForMemory) {
  const SimTask task{
      .compute_s = 2, .load_s = 1, .store_s = 1, .state_bytes = 10, .workspace_bytes = 5, .stored_bytes = 10};
  SimTask other = task;
  other.shard = 1;
  // 25: the next state fits beside state and workspace, not beside another that is being stored as well.
  // 15: one at a time.
  std::map<Bytes, double> makespan;
  for (const Bytes memory : {15, 25, 35})
    makespan[memory] = predict_makespan({trial_of({task, other}, 2)}, one_device(memory));
  EXPECT_EQ(makespan[35], 1 + 4 * 2 + 1);
  EXPECT_EQ(makespan[25], 1 + 4 * 2 + 1);  // store then load, 2 s, behind 2 s of compute
  EXPECT_EQ(makespan[15], 4 * (1 + 2 + 1));
}

TEST(Simulator, WhatIsChosenEarlyIsLoadedBesideWhatIsStored) {
  const SimTask task{
      .compute_s = 2, .load_s = 1, .store_s = 1, .state_bytes = 10, .workspace_bytes = 5, .stored_bytes = 10};
  SimTask other = task;
  other.shard = 1;
  // 20: both states, but not with a workspace.
  SimOptions options = one_device(20);
  const SimResult early = simulate({trial_of({task, other}, 2)}, options);
  EXPECT_EQ(early.makespan_s, 1 + 4 * 2 + 3 * 1 + 1);
  EXPECT_LE(early.devices[0].peak_bytes, 20u);
  options.choose_early = false;
  EXPECT_EQ(predict_makespan({trial_of({task, other}, 2)}, options), 4 * (1 + 2 + 1));
}

TEST(Simulator, WhatIsHomeFirstMakesRoomBeforeTheRestIs) {
  SimTask task{.compute_s = 2, .load_s = 1, .store_s = 2, .state_bytes = 10, .workspace_bytes = 5, .stored_bytes = 10};
  const auto makespan = [&task] {
    SimTask other = task;
    other.shard = 1;
    return predict_makespan({trial_of({task, other}, 2)}, one_device(15));
  };
  EXPECT_EQ(makespan(), 1 + 4 * 2 + 3 * (2 + 1) + 2);
  task.stored_first = 5;  // home after 1 s
  EXPECT_EQ(makespan(), 1 + 4 * 2 + 3 * 2 + 2);
}

TEST(Simulator, ALoadWaitsForTheStoreOfTheSameShardOnAnotherDevice) {
  // Three trials on two devices: FIFO makes them change their devices.
  const SimTask slow_store{.compute_s = 1, .load_s = 1, .store_s = 5, .state_bytes = 1, .stored_bytes = 1};
  SimOptions options = on_devices(2);
  options.timeline_limit = 100;
  options.scheduler = SchedulerKind::fifo;
  const SimResult result =
      simulate({trial_of({slow_store}, 3), trial_of({slow_store}, 3), trial_of({slow_store}, 3)}, options);
  std::map<std::uint32_t, double> home_s;
  std::map<std::uint32_t, std::uint32_t> device;
  int moves = 0;
  for (const SimSlice& slice : result.timeline) {
    if (slice.kind == SimSlice::Kind::store) home_s[slice.trial] = slice.end_s, device[slice.trial] = slice.device;
    if (slice.kind == SimSlice::Kind::load && home_s.contains(slice.trial)) {
      EXPECT_GE(slice.begin_s, home_s[slice.trial]);
      moves += device[slice.trial] != slice.device;
    }
  }
  EXPECT_GT(moves, 0);
}

TEST(Simulator, AForwardTaskTakesOverTheShardThatIsStillStored) {
  const SimTask backward{.compute_s = 1, .load_s = 4, .store_s = 3, .state_bytes = 10, .stored_bytes = 10};
  const SimTask forward{.compute_s = 2, .load_s = 4, .state_bytes = 5};
  const SimResult result = simulate({trial_of({backward, forward})}, one_device(30));
  EXPECT_EQ(result.devices[0].load_s, 4);
  EXPECT_EQ(result.makespan_s, 4 + 1 + 3);
  SimOptions options = one_device(30);
  options.double_buffer = false;
  EXPECT_EQ(predict_makespan({trial_of({backward, forward})}, options), 4 + 1 + 3 + 4 + 2);
}

TEST(Simulator, WithoutInterleavingATrialKeepsItsDeviceToTheEnd) {
  SimOptions options = on_devices(2);
  options.interleave = false;
  options.timeline_limit = 1000;
  options.scheduler = SchedulerKind::fifo;
  const SimResult result = simulate({unit_trial(4, 1), unit_trial(6, 1), unit_trial(4, 1)}, options);
  EXPECT_EQ(result.makespan_s, 8);
  std::map<std::uint32_t, std::uint32_t> device;
  for (const SimSlice& slice : result.timeline)
    EXPECT_EQ(device.try_emplace(slice.trial, slice.device).first->second, slice.device);
  EXPECT_EQ(result.finish_s, (std::vector<double>{4, 6, 8}));
}

TEST(Simulator, InterleavingFillsTheLinksGaps) {
  // Load 2, compute 1: one device with memory for two is bound by its link either way; two trials' computes never
  // overlap loads of their own shard, so four trials must reach the link's bound.
  const SimTask a{.shard = 0, .compute_s = 1, .load_s = 2, .state_bytes = 1};
  const SimTask b{.shard = 1, .compute_s = 1, .load_s = 2, .state_bytes = 1};
  const SimResult result = simulate(std::vector<SimTrial>(4, trial_of({a, b}, 5)), one_device(2));
  EXPECT_EQ(result.devices[0].load_s, 4 * 10 * 2);
  EXPECT_EQ(result.makespan_s, 4 * 10 * 2 + 1);
}

TEST(Simulator, ArrivalsAreWaitedFor) {
  SimTrial late = unit_trial(2, 1);
  late.arrival_s = 10;
  const SimResult result = simulate({unit_trial(3, 1), late}, on_devices(1));
  EXPECT_EQ(result.finish_s, (std::vector<double>{3, 12}));
  EXPECT_EQ(result.devices[0].idle_no_work_s, 7);
}

TEST(Simulator, AdmissionBoundsWhoInterleaves) {
  SimOptions options = on_devices(1);
  options.active_trials = 2;
  options.scheduler = SchedulerKind::round_robin;
  const SimResult result = simulate(std::vector<SimTrial>(3, unit_trial(4, 1)), options);
  EXPECT_LE(result.finish_s[0], 8);
  EXPECT_LE(result.finish_s[1], 8);
  EXPECT_EQ(result.finish_s[2], 12);
}

TEST(Simulator, VisitsRotateTheActiveSet) {
  SimTrial trial;
  trial.phases.push_back({{{.compute_s = 1}}, 2, true, 0});
  trial.rounds = 3;
  SimOptions options = on_devices(1);
  options.active_trials = 1;
  const SimResult result = simulate({trial, trial}, options);
  EXPECT_EQ(result.finish_s, (std::vector<double>{10, 12}));  // visits of 2: a b a b a b
}

TEST(Simulator, CommitsTakeTheirTime) {
  SimTrial trial;
  trial.phases.push_back({{{.compute_s = 1}}, 2, true, 0.5});
  trial.rounds = 2;
  EXPECT_EQ(predict_makespan({trial}, on_devices(1)), 5);
  EXPECT_EQ(predict_makespan({trial, trial}, on_devices(1)), 8.5);
}

TEST(Simulator, LrtfKeepsTheLongestTrialRunning) {
  // One trial as long as the others together: it must never wait.
  const std::vector<SimTrial> trials{unit_trial(10, 1), unit_trial(10, 1), unit_trial(10, 2)};
  EXPECT_EQ(predict_makespan(trials, on_devices(2)), 20);
}

TEST(Simulator, RefusesATaskThatNoDeviceHolds) {
  const SimTask task{.compute_s = 1, .state_bytes = 10, .workspace_bytes = 1};
  EXPECT_THROW(simulate({trial_of({task})}, one_device(10)), std::logic_error);
  EXPECT_THROW(simulate({trial_of({task})}, on_devices(0)), std::logic_error);
}

TEST(Simulator, OneCutTrialTakesThePartitionersTimeWhereComputeBounds) {
  for (const double link : {4.0, 16.0}) {
    for (const Bytes memory : {224 * MiB, 256 * MiB, 320 * MiB}) {
      const DeviceLimits device = emulated(memory, link * GiB);
      const PartitionPlan plan = *partition_dp(minilm(), device).plan;
      const SimResult result = simulate({trial_of(training_step(plan, device), 50)}, one_device(memory));
      EXPECT_NEAR(result.makespan_s / (50 * plan.step_s), 1, 0.05) << link << " GiB/s, " << memory / MiB << " MiB";
    }
  }
}

TEST(SimulatorProperty, OneTrialIsHardlyEverSlowerThanThePartitionerSays) {
  // The partitioner adds up slots; in the simulator stores may run on behind several of them, whose bytes forwards
  // take over.
  for (std::uint64_t instance = 0; instance < 1000; ++instance) {
    KeyedStream random(derive(21, instance));
    const auto layers = random_model(random, 16);
    const DeviceLimits device = random_device(random);
    const PartitionResult result = partition_dp(layers, device);
    if (!result.plan) continue;
    SimOptions options = one_device(device.memory);
    options.double_buffer = device.double_buffer;
    const double ratio =
        predict_makespan({trial_of(training_step(*result.plan, device), 30)}, options) / (30 * result.plan->step_s);
    ASSERT_LT(ratio, 1.05) << "instance " << instance;
    ASSERT_GT(ratio, 0.6) << "instance " << instance;
  }
}

TEST(Simulator, ResidentTrialsMoveNothing) {
  const DeviceLimits device = emulated(1 * GiB, 4.0 * GiB);
  const PartitionPlan plan = *partition_dp(minilm(), device).plan;
  ASSERT_TRUE(plan.resident);
  const SimResult result = simulate({trial_of(training_step(plan, device), 10)}, one_device(1 * GiB));
  EXPECT_NEAR(result.makespan_s, 10 * plan.step_s, 1e-9);
  EXPECT_EQ(result.devices[0].load_s, 0);
  EXPECT_EQ(evaluation_pass(plan, device).size(), 1u);
}

std::vector<SimTrial> random_sweep(KeyedStream& random) {
  std::vector<SimTrial> trials(1 + random.below(8));
  for (SimTrial& trial : trials) {
    trial.arrival_s = random.below(2) * 5 * random.uniform();
    trial.rounds = 1 + random.below(2);
    for (std::uint64_t phase = 0; phase < 1 + random.below(2); ++phase) {
      std::vector<SimTask> tasks;
      for (std::uint64_t i = 0; i < 1 + random.below(5); ++i) {
        const Bytes state = random.below(50);
        tasks.push_back({static_cast<std::uint32_t>(random.below(3)), random.uniform(),
                         random.below(2) * random.uniform(), random.below(2) * random.uniform(), state,
                         random.below(50), state});
      }
      trial.phases.push_back({tasks, 1 + random.below(6), random.below(2) == 0, 0.3 * random.uniform()});
    }
  }
  return trials;
}

SimOptions random_options(KeyedStream& random) {
  SimOptions options;
  options.devices = 1 + static_cast<std::uint32_t>(random.below(4));
  options.memory = 100 + random.below(100);
  options.scheduler = static_cast<SchedulerKind>(random.below(5));
  options.seed = random.next();
  options.double_buffer = random.below(3) > 0;
  options.interleave = random.below(3) > 0;
  options.successor_competes = random.below(2) > 0;
  options.active_trials = static_cast<std::uint32_t>(random.below(4));
  options.lookahead = random.below(2) == 0 ? 1 : 8;
  options.timeline_limit = 1'000'000;
  return options;
}

/// No two slices of one kind overlap on a device, nor two computes of one trial.
void expect_exclusive(const SimResult& result) {
  std::map<std::pair<int, std::uint32_t>, std::vector<std::pair<double, double>>> lanes;
  for (const SimSlice& slice : result.timeline) {
    lanes[{static_cast<int>(slice.kind), slice.device}].push_back({slice.begin_s, slice.end_s});
    if (slice.kind == SimSlice::Kind::compute) lanes[{-1, slice.trial}].push_back({slice.begin_s, slice.end_s});
  }
  for (auto& [lane, slices] : lanes) {
    std::sort(slices.begin(), slices.end());
    for (std::size_t i = 1; i < slices.size(); ++i) ASSERT_GE(slices[i].first, slices[i - 1].second - 1e-9);
  }
}

double compute_s(const SimTrial& trial) {
  double sum = 0;
  for (const SimPhase& phase : trial.phases) {
    for (const SimTask& task : phase.tasks) sum += task.compute_s * static_cast<double>(phase.repeats * trial.rounds);
  }
  return sum;
}

TEST(SimulatorProperty, RandomSweepsFinishAndEverySecondIsAccountedFor) {
  for (std::uint64_t instance = 0; instance < 2000; ++instance) {
    SCOPED_TRACE(instance);
    KeyedStream random(derive(11, instance));
    const auto trials = random_sweep(random);
    const SimOptions options = random_options(random);
    const SimResult result = simulate(trials, options);
    double work = 0, busy = 0;
    for (std::size_t i = 0; i < trials.size(); ++i) {
      work += compute_s(trials[i]);
      ASSERT_GE(result.finish_s[i] + 1e-9, trials[i].arrival_s + compute_s(trials[i]));
    }
    for (const SimDevice& device : result.devices) {
      busy += device.busy_s;
      ASSERT_NEAR(device.busy_s + idle_s(device), result.makespan_s, 1e-6);
      ASSERT_LE(device.peak_bytes, options.memory);
    }
    ASSERT_NEAR(busy, work, 1e-6);
    ASSERT_NO_FATAL_FAILURE(expect_exclusive(result));
    ASSERT_EQ(simulate(trials, options), result);
  }
}

/// Makespans beyond max(longest, total ÷ devices), in units, summed over random sweeps of unit tasks.
struct Excess {
  double worst = 0, sum = 0;
};
Excess lrtf_excess(SimOptions options) {
  Excess excess;
  for (std::uint64_t instance = 0; instance < 300; ++instance) {
    KeyedStream random(derive(12, instance));
    options.devices = 1 + static_cast<std::uint32_t>(random.below(4));
    std::vector<SimTrial> trials;
    double longest = 0, total = 0;
    for (std::uint64_t i = 0, count = options.devices + random.below(8); i < count; ++i) {
      const std::uint64_t units = 10 + random.below(200);
      trials.push_back(unit_trial(units, 1));
      longest = std::max(longest, static_cast<double>(units));
      total += static_cast<double>(units);
    }
    const double units = predict_makespan(trials, options) - std::max(longest, total / options.devices);
    excess.worst = std::max(excess.worst, units);
    excess.sum += units;
  }
  return excess;
}

TEST(SimulatorProperty, LrtfThatChoosesAtTheLastMomentIsWithinOneUnitOfTheBound) {
  SimOptions options;
  options.double_buffer = false;
  EXPECT_LE(lrtf_excess(options).worst, 1);
}

TEST(SimulatorProperty, ChoosingOneTaskAheadCostsLittleWhenTheSuccessorCompetes) {
  SimOptions options;
  const Excess competes = lrtf_excess(options);
  options.successor_competes = false;
  const Excess yields = lrtf_excess(options);
  EXPECT_LT(competes.sum / 300, 2);
  EXPECT_LT(10 * competes.sum, yields.sum);
}

}  // namespace
}  // namespace hopyard
