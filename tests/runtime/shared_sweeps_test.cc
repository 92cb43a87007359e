// Sweeps whose trials share frozen layers: the same digests and scores as with sharing off, on any device, after any
// interruption, within every budget.
#include <gtest/gtest.h>

#include <set>

#include "base/rng.h"
#include "fakes/failure_of.h"
#include "fakes/feature_world.h"
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
        text::cat("version: 1\nname: small\nseed: ", seed_, "\ndata: {train: ", folder_, "/data, valid: ", folder_,
                  "/data, ", rows_, ", partitions: ", partitions_, "}\nmodel: ", "{checkpoint: ", folder_,
                  "/model, task: sequence-classification, freeze: ", freeze_, more_model_,
                  "}\ntrain: {epochs: 2, batch_size: ", batch_, ", precision: ", precision_,
                  ", optimizer: {type: adamw, lr: {grid: [1.0e-3, 3.0e-3]}}}\nsearch: ", search_,
                  "\nresources: {devices: [", devices, "], host_memory: ", host_,
                  ", disk: {path: spill, capacity: ", disk_, "}}\nexecute: {sharing: ", sharing, execute_, "}\n"),
        "config.yaml", {});
  }
  SweepResult run(const std::string& devices, const std::string& sharing) const {
    SweepStore store;
    return run_sweep(config(devices, sharing), store);
  }
  /// So many rows, in so many partitions, that features of two visits and the frozen layers take less than all
  /// features.
  void by_visits() {
    rows_ = "train_rows: 360, valid_rows: 11";
    partitions_ = 18;
  }
  static Bytes features(const PlanView& plan) {
    Bytes bytes = 0;
    for (const auto& depth : plan.sharing) bytes += depth.bytes;
    return bytes;
  }

  fakes::SmallWorld world_{fakes::kTinyBert, 400};
  std::string folder_ = world_.folder.path(), rows_ = "train_rows: 38, valid_rows: 11";
  std::uint64_t seed_ = 5;
  int partitions_ = 2;
  std::string execute_, disk_ = "1GiB", freeze_ = "{grid: [0, 1, 3, 5]}", batch_ = "8, micro_batch_size: 4",
                        host_ = "64MiB", more_model_, precision_ = "fp32";
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

TEST_F(SharedSweepsTest, TrialsOfOnePrecisionShareFeatures) {
  world_.give_weights();
  freeze_ = "3";
  precision_ = "{grid: [fp32]}";  // a setting like any: seeds follow from them
  const auto exact = run(kOneCpu, "off");
  precision_ = "{grid: [fp32, bf16]}";  // searched before the rate: t00 and t01 are fp32
  const auto alone = run(kOneCpu, "off");
  ASSERT_EQ(alone.outcomes.size(), 4u);
  EXPECT_EQ(alone.outcomes.at("t00"), exact.outcomes.at("t00"));
  EXPECT_EQ(alone.outcomes.at("t01"), exact.outcomes.at("t01"));
  EXPECT_NE(alone.outcomes.at("t02"), exact.outcomes.at("t00"));
  for (const char* devices : {kTwoCpus, kSmallEmulated, kLargeEmulated}) {
    const auto shared = run(devices, "auto");
    EXPECT_EQ(shared.outcomes, alone.outcomes) << devices;
    ASSERT_EQ(shared.plan.sharing.size(), 2u) << devices;
    const auto& [first, second] = std::minmax(shared.plan.sharing[0].bytes, shared.plan.sharing[1].bytes);
    EXPECT_EQ(second - first, (38u + 11u) * 8 * 32 * 2) << devices << ": half of all float32 features";
    SweepStore store;  // interrupted and taken up again
    for (int lines = 3; lines < 40; lines += 4) run_sweep(config(devices, "auto"), store, lines);
    EXPECT_EQ(run_sweep(config(devices, "auto"), store).outcomes, alone.outcomes) << devices;
  }
}

TEST_F(SharedSweepsTest, RandomSweepsGiveTheSameBits) {
  world_.give_weights();
  search_ = "{method: random, trials: 7, metric: valid/accuracy}";
  freeze_ = "{choice: [0, 1, 2, 3, 4, 5]}";
  int shared_sweeps = 0, odd_batches = 0;
  for (seed_ = 1; seed_ <= 12; ++seed_) {
    KeyedStream draw(seed_);
    const auto micro = 1 + draw.below(5);
    batch_ = text::cat(micro + draw.below(6), ", micro_batch_size: ", micro);
    more_model_ = draw.below(2) == 0 ? "" : ", dropout: {choice: [0.0, 0.3]}";
    odd_batches += 19 % micro != 0;
    const char* devices[] = {kOneCpu, kTwoCpus, kSmallEmulated, kLargeEmulated};
    const auto shared = run(devices[draw.below(4)], "auto");
    EXPECT_EQ(shared.outcomes, run(devices[draw.below(2)], "off").outcomes) << seed_ << " batch " << batch_;
    EXPECT_EQ(shared.outcomes.size(), 7u) << seed_;
    shared_sweeps += !shared.plan.sharing.empty();
  }
  EXPECT_GT(shared_sweeps, 8);
  EXPECT_GT(odd_batches, 4);
}

TEST_F(SharedSweepsTest, RandomWeightsAreSharedByTrialsOfOneSeedOnly) {
  freeze_ = "3";
  const auto shared = run(kTwoCpus, "auto");
  EXPECT_EQ(shared.outcomes, run(kOneCpu, "off").outcomes);
  ASSERT_EQ(shared.plan.sharing.size(), 2u);  // each its own, for two epochs
  for (const auto& depth : shared.plan.sharing) EXPECT_EQ(depth.trials.size(), 1u);
}

TEST_F(SharedSweepsTest, LayersOfDifferentWidthsWorkInPlace) {
  const fakes::FeatureWorld features;
  const auto drawn = features.source();
  drawn->export_to(features.folder / "model", [&](std::uint32_t layer, Part part, std::span<std::byte> out) {
    drawn->initialise(layer, part, 1, out);
  });
  folder_ = features.folder.path();
  freeze_ = "{grid: [2, 4]}";
  for (const bool partial : {true, false}) {  // here a row of a batch of three is not that of a batch of four
    if (!partial) rows_ = "train_rows: 32, valid_rows: 8";
    const auto alone = run(kOneCpu, "off");
    for (const char* devices : {kTwoCpus, "{type: emulated, count: 2, memory: 24KiB, link: 1GiB/s}", kLargeEmulated}) {
      const auto shared = run(devices, "auto");
      EXPECT_EQ(shared.outcomes, alone.outcomes) << devices << partial;
      EXPECT_TRUE(partial || !shared.plan.sharing.empty()) << devices;
    }
  }
}

TEST_F(SharedSweepsTest, DropoutInFrozenLayersIsNotShared) {
  world_.give_weights();
  more_model_ = ", frozen_dropout: true";
  const auto result = run(kOneCpu, "auto");
  EXPECT_TRUE(result.plan.sharing.empty());
  EXPECT_EQ(result.outcomes.size(), 8u);
}

TEST_F(SharedSweepsTest, AnyBudgetAtWhichASweepRunsGivesTheSameBits) {
  world_.give_weights();
  const auto alone = run(kOneCpu, "off");
  std::set<std::size_t> depths;
  const Bytes engine = kIoThreads * kDiskStagingBytes;
  for (Bytes host = engine + 400 * KiB; host < engine + 2 * MiB; host += 90 * KiB) {
    host_ = text::cat(host / KiB, "KiB");
    SweepResult shared;
    try {
      shared = run(kSmallEmulated, "auto");
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::capacity) << failure.what();
      continue;
    }
    EXPECT_EQ(shared.outcomes, alone.outcomes) << host;
    EXPECT_LE(shared.host_peak, host);
    EXPECT_LE(shared.plan.predicted_peak_host, host);
    depths.insert(shared.plan.sharing.size());
  }
  EXPECT_GE(depths.size(), 3u) << "no budget at which only some depths fitted";
}

TEST_F(SharedSweepsTest, AfterAnyInterruptionWhatIsStillNeededIsComputedAgain) {
  world_.give_weights();
  const auto alone = run(kOneCpu, "off");
  bool began_with_fewer = false;
  for (const int interrupt_after : {1, 3, 8, 14, 22, 30}) {
    SweepStore store;
    const auto first = run_sweep(config(kTwoCpus, "auto"), store, interrupt_after);
    EXPECT_EQ(first.end, ExperimentEnd::interrupted) << interrupt_after;
    const auto second = run_sweep(config(kLargeEmulated, "auto"), store);
    EXPECT_EQ(second.end, ExperimentEnd::finished);
    EXPECT_EQ(second.outcomes, alone.outcomes) << interrupt_after;
    began_with_fewer |= second.plan.sharing.size() < first.plan.sharing.size();
  }
  EXPECT_TRUE(began_with_fewer) << "no resumed run with too little left to share it all";
}

/// Budgets at which host memory holds features by visits at most, or nothing.
struct Forced {
  const char* name;
  std::string execute;
  std::set<std::string> tiers;
};

TEST_F(SharedSweepsTest, EveryTierGivesTheSameBits) {
  world_.give_weights();
  by_visits();
  const auto alone = run(kOneCpu, "off");
  const std::vector<Forced> all{{"host", "", {"host"}},
                                {"disk", ", sharing_host: 370KiB", {"disk"}},
                                {"fused", ", sharing_host: 370KiB, sharing_disk: none", {"fused"}},
                                {"recompute", ", sharing_host: 20KiB", {}}};
  for (const auto& forced : all)
    for (const char* devices : {kTwoCpus, kSmallEmulated}) {
      execute_ = forced.execute;
      const auto shared = run(devices, "auto");
      std::set<std::string> tiers;
      Bytes host = 0;
      for (const auto& depth : shared.plan.sharing) tiers.insert(depth.tier), host += depth.bytes;
      EXPECT_EQ(tiers, forced.tiers) << devices;
      EXPECT_TRUE(forced.execute.empty() || host <= 370 * KiB) << forced.name;
      EXPECT_EQ(shared.outcomes, alone.outcomes) << forced.name << " " << devices;
      EXPECT_LE(shared.host_peak, 64 * MiB) << forced.name << " " << devices;
      EXPECT_LE(shared.disk_peak, GiB) << forced.name << " " << devices;
      if (tiers.empty()) {
        EXPECT_NE(format_plan(shared.plan).find("Nothing is shared: the least that is worth it takes"),
                  std::string::npos);
      }
    }
}

TEST_F(SharedSweepsTest, AnyTierAfterAnyInterruption) {
  world_.give_weights();
  by_visits();
  const auto alone = run(kOneCpu, "off");
  for (const char* execute : {", sharing_host: 370KiB", ", sharing_host: 370KiB, sharing_disk: none"})
    for (const int interrupt_after : {2, 90, 200}) {
      execute_ = execute;
      SweepStore store;
      const auto first = run_sweep(config(kTwoCpus, "auto"), store, interrupt_after);
      EXPECT_EQ(first.end, ExperimentEnd::interrupted) << interrupt_after;
      const auto second = run_sweep(config(kTwoCpus, "auto"), store);
      EXPECT_EQ(second.end, ExperimentEnd::finished);
      EXPECT_EQ(second.outcomes, alone.outcomes) << execute << interrupt_after;
    }
}

TEST_F(SharedSweepsTest, RandomBudgetsGiveTheSameBitsAndAreKept) {
  world_.give_weights();
  search_ = "{method: random, trials: 6, metric: valid/accuracy}";
  freeze_ = "{choice: [0, 2, 4, 5]}";
  std::set<std::string> tiers;
  for (seed_ = 1; seed_ <= 16; ++seed_) {
    KeyedStream draw(seed_ + 100);
    partitions_ = static_cast<int>(1 + draw.below(14));
    rows_ = text::cat("train_rows: ", 60 + draw.below(200), ", valid_rows: 11");
    const Bytes host = (60 + draw.below(340)) * KiB, disk = draw.below(1800) * KiB;
    execute_ = text::cat(", sharing_host: ", host, "B, sharing_disk: ", disk == 0 ? "none" : text::cat(disk, "B"),
                         draw.below(2) == 0 ? "" : ", active_trials: 2");
    const char* devices[] = {kOneCpu, kTwoCpus, kSmallEmulated, kLargeEmulated};
    const auto shared = run(devices[draw.below(4)], "auto");
    EXPECT_EQ(shared.outcomes, run(kTwoCpus, "off").outcomes) << seed_ << execute_;
    Bytes host_planned = 0, disk_planned = 0;
    for (const auto& depth : shared.plan.sharing) {
      tiers.insert(depth.tier);
      host_planned += depth.bytes, disk_planned += depth.disk_bytes;
    }
    EXPECT_LE(host_planned, host);
    EXPECT_LE(disk_planned, disk);
    EXPECT_LE(shared.host_peak, 64 * MiB) << seed_;
    EXPECT_LE(shared.disk_peak, GiB) << seed_;
  }
  EXPECT_EQ(tiers.size(), 3u);
}

TEST_F(SharedSweepsTest, ABudgetThatTheTiersDoNotHaveIsRefused) {
  for (const char* key : {"sharing_host", "sharing_disk"}) {
    execute_ = text::cat(", ", key, ": 2GiB");
    const auto sentence = fakes::failure_of(ExitCode::capacity, [&] { run(kOneCpu, "auto"); });
    EXPECT_EQ(sentence.find(text::cat("execute.", key, ": 2147483648 bytes (2 GiB) are asked for and resources.")), 0u)
        << sentence;
  }
}

TEST_F(SharedSweepsTest, WhatASweepSharesWithAndWithoutGoesOnEitherWay) {
  world_.give_weights();
  const auto alone = run(kOneCpu, "off");
  for (const char* first : {"off", "auto"}) {
    SweepStore store;
    run_sweep(config(kTwoCpus, first), store, 9);
    const auto rest = run_sweep(config(kTwoCpus, first == std::string("off") ? "auto" : "off"), store);
    EXPECT_EQ(rest.outcomes, alone.outcomes) << first;
  }
}

}  // namespace
}  // namespace hopyard
