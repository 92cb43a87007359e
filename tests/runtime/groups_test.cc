// Groups in a whole sweep: which rows their members train on, and what their bits depend on.
#include <gtest/gtest.h>

#include <set>

#include "fakes/small_world.h"
#include "fakes/sweep_run.h"
#include "runtime/training_rows.h"

namespace hopyard {
namespace {

SearchSpec resampled(std::uint32_t resamples, rigor::ResampleKind kind) {
  SearchSpec spec;
  spec.resamples = resamples;
  spec.resample_method = kind;
  return spec;
}

std::vector<std::uint32_t> all_rows(const Partitions& partitions, std::uint32_t epoch = 0) {
  std::vector<std::uint32_t> rows;
  for (std::uint32_t p = 0; p < partitions.count(); ++p)
    for (const auto row : partitions.order(p, epoch)) rows.push_back(row);
  return rows;
}

TEST(TrainingRows, OfAPlainTrialAreWhatTheyWere) {
  TrainingRows rows(SearchSpec(), 17);
  const TrialSpec plain{.id = "t00"};
  const auto own = rows.partitions(train_rows_of(plain, 40), 3);
  const Partitions before(40, 3, 17);
  for (std::uint32_t epoch = 0; epoch < 2; ++epoch) EXPECT_EQ(all_rows(*own, epoch), all_rows(before, epoch));
  EXPECT_EQ(rows.order_seed(train_rows_of(plain, 40)), 17u);
}

TEST(TrainingRows, TrialsOfOneSeedNumberShareTheirOrder) {
  TrainingRows rows(SearchSpec(), 17);
  const auto of = [&](const std::string& group, std::uint32_t seed) {
    TrialSpec member;
    member.replicate = Replicate{group, seed, std::nullopt};
    return rows.partitions(train_rows_of(member, 40), 3);
  };
  EXPECT_EQ(of("t00", 1), of("t07", 1)) << "one object for both";
  EXPECT_NE(all_rows(*of("t00", 1)), all_rows(*of("t00", 2)));
  EXPECT_EQ(all_rows(*of("t00", 0)), all_rows(Partitions(40, 3, 17)));
  auto sorted = all_rows(*of("t00", 2));
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted.size(), 40u);
  EXPECT_EQ(std::set<std::uint32_t>(sorted.begin(), sorted.end()).size(), 40u);
}

TEST(TrainingRows, AResampleSaysWhichRows) {
  for (const auto kind : {rigor::ResampleKind::bootstrap, rigor::ResampleKind::kfold}) {
    TrainingRows rows(resampled(4, kind), 17);
    for (std::uint32_t number = 0; number < 4; ++number) {
      const auto resample = rigor::make_resample(40, kind, 4, number, 17);
      for (const std::uint32_t seed : {0u, 1u}) {
        const TrainRows wanted{40, seed, number};
        auto trained = all_rows(*rows.partitions(wanted, 3));
        std::sort(trained.begin(), trained.end());
        EXPECT_EQ(trained, resample.train);
        EXPECT_EQ(rows.count(wanted), trained.size());
      }
    }
  }
}

TEST(TrainingRows, TheirNumberMayDiffer) {
  TrainingRows rows(SearchSpec(), 17);
  EXPECT_EQ(rows.partitions({20, 0, std::nullopt}, 4)->rows(), 20u);
  EXPECT_EQ(rows.partitions({40, 0, std::nullopt}, 4)->rows(), 40u);
  EXPECT_THROW(rows.partitions({3, 0, std::nullopt}, 4), Failure);
}

class GroupSweepTest : public ::testing::Test {
 protected:
  ExperimentConfig config(const std::string& search, std::uint32_t partitions = 1, std::uint32_t epochs = 2) const {
    return parse_config(
        text::cat("version: 1\nname: small\nseed: 5\ndata: {train: ", world_.folder / "data",
                  ", valid: ", world_.folder / "data", ", train_rows: 40, valid_rows: 10, partitions: ", partitions,
                  "}\nmodel: {checkpoint: ", world_.folder / "model", ", task: sequence-classification}\n",
                  "train: {epochs: ", epochs, ", batch_size: 8, optimizer: {type: adamw, lr: {choice: [1.0e-3, ",
                  "3.0e-3, 1.0e-2]}}}\nsearch: {", search, ", metric: valid/loss}\n",
                  "resources: {devices: [{type: emulated, count: 2, memory: 1MiB, link: 1GiB/s}], host_memory: 64MiB, ",
                  "disk: {path: spill, capacity: 1GiB}}\n"),
        "config.yaml", {});
  }
  std::map<std::string, std::string> outcomes(const ExperimentConfig& config) const {
    fakes::SweepStore store;
    return fakes::run_sweep(config, store).outcomes;
  }
  fakes::SmallWorld world_{fakes::kTinyBert};
};

TEST_F(GroupSweepTest, SeedNumberZeroIsThePlainTrial) {
  const auto plain = outcomes(config("method: grid")), grouped = outcomes(config("method: grid, seeds: 2"));
  ASSERT_EQ(plain.size(), 3u);
  ASSERT_EQ(grouped.size(), 6u);
  std::set<std::string> different;
  for (const auto& [id, outcome] : grouped) different.insert(outcome);
  EXPECT_EQ(different.size(), 6u);
  for (const auto& [id, outcome] : plain) EXPECT_EQ(grouped.at(id + ".s0"), outcome);
}

TEST_F(GroupSweepTest, EachMemberTrainsOnItsOwnRows) {
  for (const char* method : {"bootstrap", "kfold"}) {
    const auto config_of = config(text::cat("method: grid, resamples: 3, resample_method: ", method), 2);
    fakes::SweepStore store;
    const auto result = fakes::run_sweep(config_of, store);
    ASSERT_EQ(result.outcomes.size(), 9u);
    std::set<std::string> different;
    for (const auto& [id, outcome] : result.outcomes) different.insert(outcome);
    EXPECT_EQ(different.size(), 9u);
    for (const auto& record : store.journal.trials()) {
      const std::uint64_t batches = method == std::string("kfold") ? 2 + 2 : 3 + 3;  // of 26 or 27 rows, or of 40
      EXPECT_EQ(record.last->steps, 2 * batches);
    }
  }
}

/// What is decided on means is decided again after an interruption, and comes to the same end.
TEST_F(GroupSweepTest, InterruptedGroupsEndAsIfUndisturbed) {
  for (const char* search : {"method: asha, trials: 4, eta: 2, seeds: 2, deterministic: true",
                             "method: pbt, trials: 2, quantile_fraction: 0.5, resamples: 2, deterministic: true"}) {
    const auto config_of = config(search, 2, 3);
    const auto whole = outcomes(config_of);
    ASSERT_GT(whole.size(), 1u);
    for (const int lines : {3, 8, 13}) {
      fakes::SweepStore store;
      auto result = fakes::run_sweep(config_of, store, lines);
      EXPECT_EQ(result.end, ExperimentEnd::interrupted);
      result = fakes::run_sweep(config_of, store);
      EXPECT_EQ(result.outcomes, whole) << search << " interrupted after " << lines;
    }
  }
}

}  // namespace
}  // namespace hopyard
