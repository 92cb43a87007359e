// The ways of transfer learning as one sweep: the same results shared and alone, on any device, and a learning curve.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "fakes/failure_of.h"
#include "fakes/small_world.h"
#include "fakes/sweep_run.h"
#include "report/learning_curve.h"

namespace hopyard {
namespace {

using fakes::run_sweep;
using fakes::SweepResult;
using fakes::SweepStore;

constexpr const char* kTwoCpus = "{type: cpu, count: 2, threads: 1}";
constexpr const char* kSmallEmulated = "{type: emulated, count: 2, memory: 300KiB, link: 1GiB/s}";

class TransferSweep : public ::testing::Test {
 protected:
  void SetUp() override { world_.give_weights(); }

  ExperimentConfig config(const std::string& devices, const std::string& sharing) const {
    return parse_config(
        text::cat(
            "version: 1\nname: small\nseed: 5\ndata: {train: ", world_.folder / "data",
            ", valid: ", world_.folder / "data",
            ", train_rows: 30, valid_rows: 11, partitions: 2}\nmodel: {checkpoint: ", world_.folder / "model",
            ", task: sequence-classification}\ntrain: {rows: ", rows_,
            ", epochs: 2, batch_size: 8, micro_batch_size: 4, optimizer: {lr: 1.0e-3, layer_decay: 0.9}}\nsearch: ",
            "{joint: [{model: {freeze: 0}}, {model: {freeze: 5, pooling: mean}}, {model: {freeze: 3, adapter: ",
            "{type: lora, rank: 2, dropout: 0.1, targets: all}}}, {model: {adapter: {type: lora, rank: 4}}}, ",
            "{model: {adapter: {type: bottleneck, size: 4}}}, {model: {init: scratch, head: linear}}, ",
            "{model: {reinit_layers: 1, freeze: 2}}]}\nresources: {devices: [", devices,
            "], host_memory: 64MiB, disk: {path: spill, capacity: 1GiB}}\nexecute: {sharing: ", sharing, "}\n"),
        "config.yaml", {});
  }

  fakes::SmallWorld world_{fakes::kTinyBert};
  std::string rows_ = "{grid: [12, 30]}";
};

TEST_F(TransferSweep, GivesTheSameBitsSharedAndAloneOnAnyDevice) {
  SweepStore store;
  const SweepResult alone = run_sweep(config(kTwoCpus, "off"), store);
  EXPECT_EQ(alone.outcomes.size(), 14u);
  std::set<std::string> different;
  for (const auto& [id, outcome] : alone.outcomes) different.insert(outcome);
  EXPECT_EQ(different.size(), 14u);
  for (const char* devices : {kTwoCpus, kSmallEmulated}) {
    SweepStore again;
    const SweepResult shared = run_sweep(config(devices, "auto"), again);
    EXPECT_EQ(shared.outcomes, alone.outcomes) << devices;
    EXPECT_FALSE(shared.plan.sharing.empty());
  }

  const auto curves = learning_curves(make_leaderboard(store.journal.trials(), config(kTwoCpus, "off").search));
  ASSERT_EQ(curves.size(), 7u);
  for (const auto& curve : curves) {
    ASSERT_EQ(curve.points.size(), 2u) << curve.method;
    EXPECT_EQ(curve.points[0].rows, 12);
    EXPECT_EQ(curve.points[1].rows, 30);
  }
}

TEST_F(TransferSweep, TrainsOnAsManyRowsAsATrialHas) {
  SweepStore store;
  run_sweep(config(kTwoCpus, "auto"), store);
  for (const auto& record : store.journal.trials()) {
    const auto rows = std::get<std::int64_t>(record.spec.settings.front().value);
    EXPECT_EQ(record.spec.settings.front().path, "train.rows");
    EXPECT_EQ(record.last->steps, rows == 12 ? 2u * 2 : 2u * 4) << "of two partitions, in two epochs";
    EXPECT_EQ(record.last->loss_items, rows);
  }
}

TEST_F(TransferSweep, RefusesMoreRowsThanThereAre) {
  rows_ = "{grid: [12, 31]}";
  EXPECT_THAT(fakes::failure_of(ExitCode::usage,
                                [&] {
                                  SweepStore store;
                                  run_sweep(config(kTwoCpus, "auto"), store);
                                }),
              testing::HasSubstr("train.rows"));
}

}  // namespace
}  // namespace hopyard
