// Sweeps whose trials share frozen layers: the same digests and scores as with sharing off, on any device, after any
// interruption, within every budget.
#include <gtest/gtest.h>

#include "fakes/small_world.h"
#include "fakes/sweep_run.h"

namespace hopyard {
namespace {

using fakes::run_sweep;
using fakes::SweepResult;
using fakes::SweepStore;

constexpr const char* kOneCpu = "{type: cpu, count: 1, threads: 1}";
constexpr const char* kTwoCpus = "{type: cpu, count: 2, threads: 1}";
constexpr const char* kSmallEmulated = "{type: emulated, count: 2, memory: 300KiB, link: 1GiB/s}";
constexpr const char* kLargeEmulated = "{type: emulated, count: 2, memory: 16MiB, link: 1GiB/s}";

class SharedSweepsTest : public ::testing::Test {
 protected:
  ExperimentConfig config(const std::string& devices, const std::string& sharing) const {
    return parse_config(
        text::cat("version: 1\nname: small\nseed: ", seed_, "\ndata: {train: ", world_.folder / "data",
                  ", valid: ", world_.folder / "data", ", train_rows: 38, valid_rows: 11, partitions: 2}\nmodel: ",
                  "{checkpoint: ", world_.folder / "model", ", task: sequence-classification, freeze: ", freeze_,
                  more_model_, "}\ntrain: {epochs: 2, batch_size: ", batch_,
                  ", optimizer: {type: adamw, lr: {grid: [1.0e-3, 3.0e-3]}}}\nsearch: ", search_,
                  "\nresources: {devices: [", devices, "], host_memory: ", host_,
                  ", disk: {path: spill, capacity: 1GiB}}\nexecute: {sharing: ", sharing, "}\n"),
        "config.yaml", {});
  }
  SweepResult run(const std::string& devices, const std::string& sharing) const {
    SweepStore store;
    return run_sweep(config(devices, sharing), store);
  }
  static Bytes features(const PlanView& plan) {
    Bytes bytes = 0;
    for (const auto& depth : plan.sharing) bytes += depth.bytes;
    return bytes;
  }

  fakes::SmallWorld world_{fakes::kTinyBert};
  std::uint64_t seed_ = 5;
  std::string freeze_ = "{grid: [0, 1, 3, 5]}", batch_ = "8, micro_batch_size: 4", host_ = "64MiB", more_model_;
  std::string search_ = "{method: grid, metric: valid/accuracy}";
};

TEST_F(SharedSweepsTest, SharedEqualsUnshared) {
  world_.give_weights();
  const auto alone = run(kOneCpu, "off");
  EXPECT_EQ(alone.outcomes.size(), 8u);
  EXPECT_TRUE(alone.plan.sharing.empty());
  EXPECT_EQ(alone.materialise_s, 0);
  for (const char* devices : {kOneCpu, kTwoCpus, kSmallEmulated, kLargeEmulated}) {
    const auto shared = run(devices, "auto");
    EXPECT_EQ(shared.outcomes, alone.outcomes) << devices;
    EXPECT_EQ(shared.plan.sharing.size(), 3u) << devices;
    EXPECT_GT(shared.materialise_s, 0) << devices;
    for (const auto& device : shared.devices) EXPECT_LE(device.memory_peak, device.memory_budget) << devices;
    EXPECT_LE(shared.host_peak, 64 * MiB);
    EXPECT_TRUE(std::any_of(shared.slices.begin(), shared.slices.end(), [](const TraceSlice& slice) {
      return slice.name.find("/materialise") != std::string::npos;
    })) << devices;
  }
}

}  // namespace
}  // namespace hopyard
