// Trials that share frozen bytes: which of them a device takes, and what that spares its link.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "sim_trials.h"

namespace hopyard {
namespace {

/// A scheduler with trials 0, 1, … of these remaining times.
std::unique_ptr<Scheduler> longest_first(const std::vector<Standing>& trials) {
  auto scheduler = make_scheduler(SchedulerKind::lrtf, 0);
  for (std::uint32_t i = 0; i < trials.size(); ++i) scheduler->add({i, trials[i].remaining_s, 100});
  return scheduler;
}

std::optional<std::uint32_t> pick(const std::vector<Standing>& trials, std::uint32_t refused = 1000) {
  return pick_sharing(
      *longest_first(trials), [&](std::uint32_t trial) { return trial != refused; },
      [&](std::uint32_t trial) { return trials[trial]; });
}

TEST(PickSharing, PrefersWhatIsThereWithinAStepOfTheLongest) {
  const Standing longest{50, 2, 1, true, false}, near{48.5, 2, 0.5, true, true}, far{47, 2, 0.5, true, true};
  EXPECT_EQ(pick({longest, near}), 1u);
  EXPECT_EQ(pick({longest, far}), 0u);
  EXPECT_EQ(pick({longest, far, near}), 2u);
  EXPECT_EQ(pick({longest, near}, 1), 0u) << "what fits the device";
  EXPECT_EQ(pick({longest, far, near}, 0), 2u);
  EXPECT_EQ(pick({}), std::nullopt);
}

TEST(PickSharing, BringsTheOneThatIsFarthestBehindInItsStep) {
  const Standing longest{50, 2, 0.25, true, false}, behind{49, 2, 0.75, true, false}, alone{49.5, 2, 1, false, false};
  EXPECT_EQ(pick({longest, behind}), 1u);
  EXPECT_EQ(pick({longest, alone}), 0u) << "a trial that shares nothing meets nobody";
}

TEST(PickSharing, LeavesTrialsThatShareNothingAlone) {
  const Standing longest{50, 2, 1, false, false}, near{49, 2, 1, true, true};
  EXPECT_EQ(pick({longest, near}), 0u);
}

/// A step of a cut trial of which nearly all is frozen: `shards` forwards, and back. The link needs `load_s` for a
/// shard's frozen bytes, and a device holds three of them.
std::vector<SimTask> step_of(std::uint32_t shards, double compute_s, double load_s, bool shares) {
  std::vector<SimTask> tasks;
  const auto add = [&](std::uint32_t shard, bool back) {
    SimTask task{shard, back ? 2 * compute_s : compute_s, load_s + 0.01, back ? 0.01 : 0, 101, 10, back ? Bytes{1} : 0};
    if (shares) task.frozen = shard + 1, task.frozen_bytes = 100, task.frozen_load_s = load_s;
    tasks.push_back(task);
  };
  for (std::uint32_t shard = 0; shard + 1 < shards; ++shard) add(shard, false);
  for (std::uint32_t shard = shards; shard-- > 0;) add(shard, true);
  return tasks;
}

SimOptions linked(std::uint32_t devices) {
  SimOptions options = one_device(400);
  options.devices = devices;
  options.lookahead = 8;
  return options;
}

TEST(SharedFrozenBytes, AreLoadedOnceForTrialsThatGoTogether) {
  for (const std::uint32_t devices : {1u, 2u}) {
    const std::vector<SimTrial> shares(8, trial_of(step_of(6, 0.05, 1, true), 20));
    const std::vector<SimTrial> apart(8, trial_of(step_of(6, 0.05, 1, false), 20));
    const SimResult together = simulate(shares, linked(devices)), alone = simulate(apart, linked(devices));
    EXPECT_GT(alone.makespan_s, 4 * together.makespan_s / devices) << devices;
    for (const SimDevice& device : together.devices) EXPECT_LE(device.peak_bytes, 400u);
    // Each step of a device at least once through all shards and back, but for the turn.
    EXPECT_GE(together.devices[0].load_s, 20 * 9 * 1.0);
  }
}

TEST(SharedFrozenBytes, TrialsOfDifferentStepsMeet) {
  std::vector<SimTrial> trials;
  for (int i = 0; i < 8; ++i) trials.push_back(trial_of(step_of(6, 0.05 * (1 + 0.03 * i), 1, true), 20));
  const SimResult result = simulate(trials, linked(1));
  EXPECT_LT(result.devices[0].load_s, 2.5 * 20 * 11) << "eight trials, of which each loads 11 times a step";
}

TEST(SharedFrozenBytes, TheOrderIsKeptButForAFewSteps) {
  // Random trials on several devices, bound by computing or by the link: going together must not cost more than the
  // steps that it may put off.
  for (std::uint64_t instance = 0; instance < 200; ++instance) {
    SCOPED_TRACE(instance);
    KeyedStream random(derive(31, instance));
    SimOptions options = linked(1 + static_cast<std::uint32_t>(random.below(4)));
    std::vector<SimTrial> shares, apart;
    const auto shards = 2 + static_cast<std::uint32_t>(random.below(4));
    const double load_s = 4 * random.uniform() * random.uniform();
    double longest_step_s = 0;
    for (std::uint64_t i = 0, count = options.devices + random.below(8); i < count; ++i) {
      const double compute_s = 0.5 + random.uniform();
      const std::uint64_t steps = 5 + random.below(30);
      shares.push_back(trial_of(step_of(shards, compute_s, load_s, true), steps));
      apart.push_back(trial_of(step_of(shards, compute_s, load_s, false), steps));
      longest_step_s = std::max(longest_step_s, compute_s * (3 * shards - 1));
    }
    EXPECT_LE(predict_makespan(shares, options), predict_makespan(apart, options) + 3 * longest_step_s);
  }
}

}  // namespace
}  // namespace hopyard
