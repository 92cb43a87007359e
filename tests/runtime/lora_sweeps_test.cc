// Sweeps of LoRA trials of one base: the same digests and scores whether its weights are shared or not, on any device,
// after any interruption; and they are there once.
#include <gtest/gtest.h>

#include <algorithm>

#include "fakes/small_world.h"
#include "fakes/sweep_run.h"

namespace hopyard {
namespace {

using fakes::run_sweep;
using fakes::SweepResult;
using fakes::SweepStore;

constexpr const char* kTwoCpus = "{type: cpu, count: 2, threads: 1}";
constexpr const char* kSmallEmulated = "{type: emulated, count: 2, memory: 300KiB, link: 1GiB/s}";
constexpr const char* kSlowLink = "{type: emulated, count: 1, memory: 300KiB, link: 30MB/s}";
/// Nothing but the link counts, also in predictions, whatever computing was measured to take.
constexpr const char* kLinkAlone = "{type: emulated, count: 1, memory: 300KiB, link: 5MB/s}";

class LoraSweepsTest : public ::testing::Test {
 protected:
  void SetUp() override { world_.give_weights(); }

  ExperimentConfig config(const std::string& devices, const std::string& sharing) const {
    const std::string folder = world_.folder.path();
    return parse_config(
        text::cat("version: 1\nname: lora\nseed: 5\ndata: {train: ", folder, "/data, valid: ", folder,
                  "/data, train_rows: 38, valid_rows: 11, partitions: 2}\nmodel: {checkpoint: ", folder,
                  "/model, task: sequence-classification, freeze: ", freeze_,
                  ", adapter: {type: lora, rank: {grid: [2, 4]}, dropout: 0.1}}\n",
                  "train: {epochs: 2, batch_size: 8, micro_batch_size: 4, clip_norm: ", clip_,
                  ", optimizer: {type: adamw, lr: {grid: [1.0e-3, 3.0e-3]}}}\n",
                  "search: {method: grid, metric: valid/accuracy}\nresources: {devices: [", devices,
                  "], host_memory: 64MiB, disk: {path: spill, capacity: 1GiB}}\nexecute: {sharing: ", sharing, "}\n"),
        "config.yaml", {});
  }
  SweepResult run(const std::string& devices, const std::string& sharing) const {
    SweepStore store;
    return run_sweep(config(devices, sharing), store);
  }

  fakes::SmallWorld world_{fakes::kTinyBert};
  std::string freeze_ = "{grid: [0, 3]}", clip_ = "none";
};

TEST_F(LoraSweepsTest, SharedEqualsUnshared) {
  for (const char* clip : {"none", "0.05"}) {
    clip_ = clip;
    const auto alone = run(kTwoCpus, "off");
    EXPECT_EQ(alone.outcomes.size(), 8u);
    for (const char* devices : {kTwoCpus, kSmallEmulated, kSlowLink}) {
      const auto shared = run(devices, "auto");
      EXPECT_EQ(shared.outcomes, alone.outcomes) << devices;
      EXPECT_LE(shared.host_peak, 64 * MiB);
      for (const auto& device : shared.devices) EXPECT_LE(device.memory_peak, device.memory_budget) << devices;
    }
  }
}

TEST_F(LoraSweepsTest, AfterAnyInterruptionTheBaseIsReadAgain) {
  const auto alone = run(kTwoCpus, "off");
  for (const int interrupt_after : {1, 5, 12, 20}) {
    SweepStore store;
    const auto first = run_sweep(config(kTwoCpus, "auto"), store, interrupt_after);
    EXPECT_EQ(first.end, ExperimentEnd::interrupted) << interrupt_after;
    const auto second = run_sweep(config(kSmallEmulated, interrupt_after == 12 ? "off" : "auto"), store);
    EXPECT_EQ(second.end, ExperimentEnd::finished);
    EXPECT_EQ(second.outcomes, alone.outcomes) << interrupt_after;
  }
}

TEST_F(LoraSweepsTest, TheBaseGoesOverTheLinkAndIntoHostMemoryOnce) {
  freeze_ = "0";
  const auto shared = run(kSlowLink, "auto"), apart = run(kSlowLink, "off");
  EXPECT_EQ(shared.outcomes, apart.outcomes);
  EXPECT_GT(apart.devices[0].link.loaded, 3 * shared.devices[0].link.loaded / 2);
  EXPECT_LT(shared.host_peak, apart.host_peak);
  const auto& group = shared.plan.groups.front();
  EXPECT_GT(group.frozen_bytes, group.state_bytes);
  Bytes loaded = 0, stored = 0;
  for (const auto& shard : group.shards) loaded += shard.forward_load, stored += shard.store;
  EXPECT_LT(stored, loaded / 4);
  const auto predicted_s = [&](const std::string& sharing) {
    return Workbench(config(kLinkAlone, sharing), 1e9, 1e9).plan_all({}).predicted_s;
  };
  EXPECT_LT(predicted_s("auto"), predicted_s("off"));
}

}  // namespace
}  // namespace hopyard
