// From a config to planned trials: measured once, and planned for what all of them need together.
#include "runtime/workbench.h"

#include <gtest/gtest.h>

#include "fakes/small_world.h"

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
        "config.yaml", {});
  }
  fakes::SmallWorld world_{fakes::kTinyBert};
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

}  // namespace
}  // namespace hopyard
