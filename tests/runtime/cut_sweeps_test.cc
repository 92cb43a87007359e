// Sweeps over data that `hopyard partition` cut: the same bits as over what was cut, up to the order of visits.
#include <gtest/gtest.h>

#include "data/partition_writer.h"
#include "fakes/failure_of.h"
#include "fakes/small_world.h"
#include "fakes/sweep_run.h"

namespace hopyard {
namespace {

constexpr std::uint64_t kSeed = 5;
constexpr std::uint32_t kPartitions = 3;

class CutSweepTest : public ::testing::Test {
 protected:
  CutSweepTest() {
    write_partitions(
        {.data = world_.folder / "data", .into = kPartitions, .out = world_.folder / "cut", .seed = kSeed});
  }

  ExperimentConfig config(const std::string& train, const std::string& rates, const std::string& data = "",
                          const std::string& more = "") const {
    return parse_config(
        text::cat("version: 1\nname: small\nseed: ", kSeed, "\ndata: {train: ", world_.folder / train, ", valid: ",
                  world_.folder / "data", ", valid_rows: 10", data, "}\nmodel: {checkpoint: ", world_.folder / "model",
                  ", task: sequence-classification, freeze: 1}\ntrain: {epochs: 2, batch_size: 8, optimizer: {type: "
                  "adamw, lr: {grid: [",
                  rates, "]}}}\nresources: {devices: [{type: cpu}], host_memory: 64MiB, disk: {capacity: 1GiB}}\n",
                  more),
        "config.yaml", {});
  }
  ExperimentConfig uncut(const std::string& rates) const {
    return config("data", rates, text::cat(", partitions: ", kPartitions));
  }
  static std::map<std::string, std::string> outcomes(const ExperimentConfig& config) {
    fakes::SweepStore store;
    return fakes::run_sweep(config, store).outcomes;
  }
  std::string refusal(const ExperimentConfig& config, const WorkerPlace& place = {}) const {
    return fakes::failure_of(ExitCode::usage, [&] { Workbench(config, 1e9, 1e9, {.place = place}).plan_all(); });
  }

  fakes::SmallWorld world_{fakes::kTinyBert};
};

TEST_F(CutSweepTest, OneTrialGivesTheBitsOfTheUncutData) {
  const auto cut = outcomes(config("cut", "1.0e-3"));
  ASSERT_EQ(cut.size(), 1u);
  EXPECT_EQ(cut, outcomes(uncut("1.0e-3")));
}

TEST_F(CutSweepTest, TrialsBeginAtPartitionsOfTheirOwnAndOneOfThemAtTheSeeds) {
  Workbench bench(config("cut", "1.0e-3, 2.0e-3, 3.0e-3"), 1e9, 1e9);
  bench.plan_all();
  std::set<std::uint32_t> rotations;
  for (const auto& spec : bench.trials()) rotations.insert(bench.resolve(spec, spec.index).rotation);
  EXPECT_EQ(rotations.size(), kPartitions);

  const auto cut = outcomes(config("cut", "1.0e-3, 2.0e-3, 3.0e-3")), whole = outcomes(uncut("1.0e-3, 2.0e-3, 3.0e-3"));
  ASSERT_EQ(cut.size(), 3u);
  int same = 0;
  for (const auto& [trial, outcome] : cut) same += whole.at(trial) == outcome;
  EXPECT_EQ(same, 1);
}

TEST_F(CutSweepTest, WhatSharingGivesIsNoPartOfTheResult) {
  EXPECT_EQ(outcomes(config("cut", "1.0e-3, 2.0e-3")),
            outcomes(config("cut", "1.0e-3, 2.0e-3", "", "execute: {sharing: off}\n")));
}

TEST_F(CutSweepTest, RecordedRotationsAreTaken) {
  Workbench bench(config("cut", "1.0e-3, 2.0e-3"), 1e9, 1e9, {.rotations = {{"t00", 2}, {"t01", 2}}});
  bench.plan_all();
  for (const auto& spec : bench.trials()) EXPECT_EQ(bench.resolve(spec, spec.index).rotation, 2u);
}

TEST_F(CutSweepTest, AWorkerOpensWhatItIsHomeOfAndNothingElse) {
  std::filesystem::remove_all(world_.folder / "cut/partition-001");
  const auto place_with_two = [&](std::uint32_t rank) {
    return open_training_data(config("cut", "1.0e-3", "", "workers: {replication: 1}\n"), {rank, 3});
  };
  EXPECT_EQ(place_with_two(0).data->first_rows(1).size(), 1u);
  EXPECT_EQ(place_with_two(2).rows, 40u);
  EXPECT_NE(fakes::failure_of(ExitCode::input, [&] { place_with_two(1); }).find("partition 1 is missing"),
            std::string::npos);
}

TEST_F(CutSweepTest, EachOfSeveralWorkersPlansFromTheRowsThatItHas) {
  const ExperimentConfig two = config("cut", "1.0e-3, 2.0e-3", "", "workers: {replication: 1}\n");
  for (const std::uint32_t rank : {0u, 2u}) {
    Workbench bench(two, 1e9, 1e9, {.place = {rank, 3}});
    const PlanView plan = bench.plan_all();
    EXPECT_TRUE(plan.sharing.empty());
    EXPECT_EQ(plan.notes.front(), "Nothing is shared: each worker has the rows of its own partitions alone.");
    EXPECT_EQ(bench.partitions(), kPartitions);
  }
}

TEST_F(CutSweepTest, WhatCutDataCannotGiveIsASentence) {
  const auto says = [&](const ExperimentConfig& config, const std::string& words, const WorkerPlace& place = {}) {
    EXPECT_NE(refusal(config, place).find(words), std::string::npos) << refusal(config, place);
  };
  says(config("cut", "1.0e-3", ", train_rows: 20"), "data.train_rows: ");
  says(config("cut", "1.0e-3", ", partitions: 4"), "was cut into 3; write auto");
  says(config("cut", "1.0e-3", "", "search: {resamples: 3}\n"), "search.resamples: rows of ");
  auto rows = config("cut", "1.0e-3");
  set_path(rows.tree, "train.rows", "20");
  says(rows, "trials use all its rows");
  says(config("data", "1.0e-3"), "data.partitions: several workers cannot each decide it", {0, 2});
  says(uncut("1.0e-3"), "partitions", {0, 4});
}

}  // namespace
}  // namespace hopyard
