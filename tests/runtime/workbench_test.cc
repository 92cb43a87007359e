// From a config to planned trials: measured once, and planned for what all of them need together.
#include "runtime/workbench.h"

#include <gtest/gtest.h>

#include "fakes/failure_of.h"
#include "fakes/small_world.h"
#include "fakes/sweep_run.h"

namespace hopyard {
namespace {

class WorkbenchTest : public ::testing::Test {
 protected:
  /// Trials of small micro-batches are planned before those of large ones, which need more workspace.
  ExperimentConfig config(const std::string& devices, const std::string& host) const {
    return parse_config(
        text::cat("version: 1\nname: small\nseed: 5\ndata: {train: ", world_.folder / "data",
                  ", valid: ", world_.folder / "data", ", train_rows: 40, partitions: 2}\nmodel: {checkpoint: ",
                  world_.folder / "model", ", task: sequence-classification}\ntrain: {epochs: 1, ",
                  "batch_size: 8, micro_batch_size: {grid: [1, 8]}, optimizer: {type: adamw, lr: {grid: [1.0e-3, ",
                  "3.0e-3]}}}\nsearch: {method: grid, metric: valid/accuracy}\nresources: {devices: [", devices,
                  "], host_memory: ", host, ", disk: {path: spill, capacity: 1GiB}}\n"),
        "config.yaml", more_);
  }
  fakes::SmallWorld world_{fakes::kTinyBert};
  std::vector<std::pair<std::string, std::string>> more_;
};

TEST_F(WorkbenchTest, WhatIsRunIsWhatWasPlanned) {
  Workbench bench(config("{type: emulated, count: 2, memory: 1MiB, link: 1GiB/s}", "64MiB"), 1e9, 1e9);
  bench.plan_all();
  ASSERT_EQ(bench.trials().size(), 4u);
  for (const auto& spec : bench.trials()) {
    const TrialSetup first = bench.resolve(spec, spec.index), again = bench.resolve(spec, 7);
    EXPECT_EQ(first.costs, again.costs) << "measured again: times are never twice the same";
    EXPECT_EQ(first.plan, again.plan);
    EXPECT_EQ(first.total_steps, 6u);
    EXPECT_EQ(again.number, 7u);
  }
  EXPECT_EQ(bench.resolve(bench.trials()[0], 0).costs, bench.resolve(bench.trials()[1], 1).costs)
      << "trials that differ in their learning rate alone are measured once";
}

TEST_F(WorkbenchTest, EveryWindowLeavesRoomForTheWorkspaceOfCpuDevices) {
  int planned = 0, otherwise_at_first = 0;
  const Bytes least = kIoThreads * kDiskStagingBytes + 16 * MiB;
  for (Bytes host = least; host < least + 3 * MiB; host += 16 * KiB) {
    Workbench bench(config("{type: cpu, count: 2, threads: 1}", text::cat(host / KiB, "KiB")), 1e9, 1e9);
    try {
      const TrialSetup at_first = bench.resolve(bench.trials().front(), 0);
      bench.plan_all();
      ++planned;
      otherwise_at_first += at_first.window != bench.resolve(bench.trials().front(), 0).window;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::capacity) << failure.what();
      continue;
    }
    for (const auto& spec : bench.trials()) {
      const TrialSetup setup = bench.resolve(spec, spec.index);
      TrialSetup again = setup;
      bench.planner().plan(again);
      EXPECT_EQ(setup.window, again.window) << spec.id << " host " << host;
      EXPECT_LE(setup.window + trial_overhead_bytes(setup), bench.planner().host_for_trials()) << spec.id;
    }
  }
  EXPECT_GT(planned, 5);
  EXPECT_GT(otherwise_at_first, 0) << "no trial had to be planned again: this shows nothing";
}

constexpr const char* kCutting = "{type: emulated, count: 2, memory: 16MiB, link: 1GiB/s}";

std::string in_kib(Bytes bytes) { return text::cat((bytes + KiB - 1) / KiB, "KiB"); }

TEST_F(WorkbenchTest, ASweepTakesAtLeastTheDiskThatItNeedsAndAtMostThePredictedPeak) {
  int spilling = 0;
  for (const char* precision : {"fp32", "bf16"})
    for (const Bytes host : {8 * MiB + 400 * KiB, 9 * MiB, 64 * MiB}) {
      more_ = {{"train.precision", precision}, {"execute.cuts", "[2, 4]"}};
      const std::string where = text::cat(precision, " ", in_kib(host));
      fakes::SweepStore store;
      const auto run = fakes::run_sweep(config(kCutting, in_kib(host)), store);
      ASSERT_EQ(run.outcomes.size(), 4u) << where;
      EXPECT_GE(run.disk_peak, run.plan.tiers.disk_need) << where;
      EXPECT_LE(run.disk_peak, run.plan.predicted_peak_disk) << where;
      spilling += run.plan.predicted_peak_disk > run.plan.tiers.disk_need;
    }
  EXPECT_GE(spilling, 3);
}

TEST_F(WorkbenchTest, ADiskTooSmallIsRefusedAndOneThatMayDoIsWarnedOf) {
  const auto plan = [&](Bytes host, Bytes disk) {
    more_ = {{"execute.cuts", "[2, 4]"}, {"resources.disk.capacity", in_kib(disk)}};
    return Workbench(config(kCutting, in_kib(host)), 1e9, 1e9).plan_all();
  };
  const PlanView roomy = plan(9 * MiB, GiB);
  ASSERT_GT(roomy.predicted_peak_disk, roomy.tiers.disk_need + 2 * KiB) << "windows are too small";
  EXPECT_FALSE(disk_warning(roomy));
  const auto refusal = fakes::failure_of(ExitCode::capacity, [&] { plan(9 * MiB, roomy.tiers.disk_need - KiB); });
  EXPECT_NE(refusal.find("resources.disk.capacity: the states of 4 trials and one commit need at least"),
            std::string::npos)
      << refusal;
  const PlanView tight = plan(9 * MiB, roomy.tiers.disk_need);
  ASSERT_TRUE(disk_warning(tight));
  EXPECT_NE(std::find(tight.notes.begin(), tight.notes.end(), *disk_warning(tight)), tight.notes.end());
  EXPECT_FALSE(disk_warning(plan(9 * MiB, roomy.predicted_peak_disk)));
}

TEST_F(WorkbenchTest, WhatIsNotRefusedRunsOnADiskThatHoldsNoByteMore) {
  more_ = {{"execute.cuts", "[2, 4]"}};
  const Bytes need = Workbench(config(kCutting, "64MiB"), 1e9, 1e9).plan_all().tiers.disk_need;
  more_.push_back({"resources.disk.capacity", in_kib(need)});
  fakes::SweepStore store;
  EXPECT_EQ(fakes::run_sweep(config(kCutting, "64MiB"), store).outcomes.size(), 4u);
}

}  // namespace
}  // namespace hopyard
