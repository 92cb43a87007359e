// Steps that several processes compute: the digest of a trial, its loss and its curve are those of one process,
// whatever each member's cuts, tiers and devices.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "fakes/memory_exchange.h"
#include "fakes/train_together.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::MemoryExchange;
using fakes::SmallWorld;
using fakes::TrialToRun;

/// The exchanges of a trial's visits, made when the first member comes.
class Visits {
 public:
  explicit Visits(std::uint32_t members) : members_(members) {}
  fakes::TieOf ends() {
    return [this](std::uint32_t visit, std::uint32_t member) { return end(visit, member); };
  }
  void die(std::uint32_t member, std::uint32_t visit, std::uint64_t part) {
    dies_ = member;
    dies_in_ = visit;
    dies_at_ = part;
  }

 private:
  std::shared_ptr<StepExchange> end(std::uint32_t visit, std::uint32_t member) {
    const std::lock_guard lock(mutex_);
    auto& exchange = exchanges_[visit];
    if (exchange == nullptr) exchange = MemoryExchange::of(members_);
    if (visit == dies_in_) exchange->die_at(dies_, dies_at_);
    return exchange->member(member);
  }

  const std::uint32_t members_;
  std::uint32_t dies_ = 0, dies_in_ = ~0u;
  std::uint64_t dies_at_ = 0;
  std::mutex mutex_;
  std::map<std::uint32_t, std::shared_ptr<MemoryExchange>> exchanges_;  // guarded by mutex_
};

TEST(MicroBatchShare, EachBatchIsSharedOutInOrderAndNobodyHasMorePiecesThanAreReserved) {
  for (std::uint32_t members = 1; members <= 5; ++members)
    for (std::uint32_t micro_batches = 1; micro_batches <= 12; ++micro_batches) {
      TrainSpec train;
      train.batch_size = micro_batches;
      train.micro_batch_size = 1;
      train.data_parallel.degree = members;
      std::uint32_t next = 0, least = ~0u, most = 0;
      for (std::uint32_t member = 0; member < members; ++member) {
        const auto own = MicroBatchShare{member, members}.of(micro_batches);
        EXPECT_EQ(own.begin, next) << member << " of " << members;
        next = own.end;
        least = std::min(least, own.count());
        most = std::max(most, own.count());
      }
      EXPECT_EQ(next, micro_batches);
      EXPECT_LE(most - least, 1u);
      EXPECT_EQ(micro_batches_here(train), most);
      EXPECT_EQ(gradient_pieces(train), members == 1 ? 1 : most);
    }
}

class SharedStepsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  void expect_whole(const SmallWorld& world, const TrialToRun& trial, const std::vector<EngineSetup>& setups,
                    const std::string& what) {
    const std::string whole = fakes::train_whole(world, trial);
    Visits visits(static_cast<std::uint32_t>(setups.size()));
    const auto [results, failures] = fakes::train_together(world, {trial}, setups, visits.ends());
    for (std::size_t m = 0; m < results.size(); ++m) {
      ASSERT_EQ(failures[m], "") << what;
      EXPECT_EQ(results[m].errors[0], "") << what;
      EXPECT_EQ(results[m].outcomes[0], whole) << what << ", member " << m;
      EXPECT_EQ(results[m].curves[0], results[0].curves[0]) << what << ", member " << m;
      EXPECT_LE(results[m].host_peak, setups[m].host_memory) << what;
      for (const auto& device : results[m].devices) EXPECT_LE(device.memory_peak, device.memory_budget) << what;
    }
    MemoryDiskTier disk;
    TrialToRun alone = trial;
    alone.train.data_parallel = {};
    EngineSetup setup;
    EXPECT_EQ(fakes::train(world, {alone}, setup, disk).curves[0], results[0].curves[0]) << what;
  }
};

TEST_F(SharedStepsTest, TwoAndThreeMembersEqualOneProcess) {
  const SmallWorld mlp(fakes::kTinyMlp), bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const SmallWorld* world : {&mlp, &bert, &gpt2})
    for (const std::uint32_t degree : {2u, 3u})
      for (const bool clipped : {false, true})
        for (const auto& [precision, emulated] : {std::pair{Precision::fp32, false},
                                                  {Precision::fp32, true},
                                                  {Precision::bf16, false},
                                                  {Precision::bf16, true},
                                                  {Precision::fp16, false},
                                                  {Precision::fp16, true}}) {
          const ModelTask task = world == &gpt2 ? ModelTask::causal_lm : ModelTask::sequence_classification;
          auto trial = fakes::shared_trial(*world, task, degree);
          if (clipped) trial.train.clip_norm = 0.05;
          trial.train.precision = precision;
          if (precision == Precision::fp16) fakes::skip_some_steps(trial.train);
          EngineSetup setup;
          setup.emulated = emulated;
          expect_whole(*world, trial, std::vector(degree, setup),
                       text::cat(world == &mlp    ? "mlp"
                                 : world == &bert ? "bert"
                                                  : "gpt2",
                                 degree, clipped, emulated, to_string(precision)));
        }
}

TEST_F(SharedStepsTest, MembersMayBeCutAndSpilledAsEachLikes) {
  const SmallWorld bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const SmallWorld* world : {&bert, &gpt2})
    for (const bool clipped : {false, true}) {
      auto trial =
          fakes::shared_trial(*world, world == &gpt2 ? ModelTask::causal_lm : ModelTask::sequence_classification, 3);
      if (clipped) trial.train.clip_norm = 0.05;
      EngineSetup whole, cut, spilled;
      cut.cuts = {2};
      cut.devices = 2;
      spilled.cuts = {1, 2, 3};
      spilled.window_share = 0.3;
      spilled.emulated = false;
      expect_whole(*world, trial, {whole, cut, spilled}, text::cat("first whole", clipped));
      expect_whole(*world, trial, {spilled, whole, cut}, text::cat("first spilled", clipped));
    }
}

TEST_F(SharedStepsTest, MicroBatchesThatDoNotDivideEvenly) {
  const SmallWorld world(fakes::kTinyBert);
  for (const std::uint32_t degree : {2u, 3u, 4u})
    for (const std::uint32_t batch : {2u, 5u, 7u})
      for (const std::uint32_t micro : {1u, 2u, 3u}) {
        auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, degree);
        trial.train.batch_size = batch;
        trial.train.micro_batch_size = micro;
        trial.rows_per_visit = 11;  // the last batch is partial
        EngineSetup setup;
        setup.cuts = {3};
        expect_whole(world, trial, std::vector(degree, setup), text::cat(degree, " of ", batch, " by ", micro));
      }
}

TEST_F(SharedStepsTest, FrozenLayersAndPartsOfLayers) {
  const SmallWorld world(fakes::kTinyBert);
  for (const std::int64_t freeze : {1, 3})
    for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {2}, {1, 2, 3, 4, 5}}) {
      EngineSetup setup;
      setup.cuts = cuts;
      expect_whole(world, fakes::shared_trial(world, ModelTask::sequence_classification, 2, freeze),
                   {setup, EngineSetup()}, text::cat(freeze, cuts.size()));
    }
}

TEST_F(SharedStepsTest, AdaptersAndPartsOfLayers) {
  EngineSetup whole, cut;
  cut.cuts = {1, 3};
  cut.window_share = 0.4;
  const SmallWorld bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const SmallWorld* world : {&bert, &gpt2})
    for (const bool adapters : {false, true}) {
      const ModelTask task = world == &gpt2 ? ModelTask::causal_lm : ModelTask::sequence_classification;
      auto trial = fakes::shared_trial(*world, task, 2);
      ModelSpec spec;
      spec.checkpoint = world->folder / "model";
      spec.task = task;
      if (adapters)
        spec.adapter = {.kind = AdapterSpec::Kind::lora, .rank = 3, .dropout = 0.2, .targets = {"all"}};
      else
        spec.train_only =
            world == &gpt2 ? std::vector<std::string>{"bias"} : std::vector<std::string>{"layer.1.", "classifier"};
      trial.source = std::make_shared<ModelSource>(spec, data_shape(*world->data, task));
      trial.train.clip_norm = 0.05;
      expect_whole(*world, trial, {whole, cut}, text::cat(world == &gpt2 ? "gpt2" : "bert", adapters));
    }
}

TEST_F(SharedStepsTest, AloneATrialOfSomeDegreeIsTheSame) {
  const SmallWorld world(fakes::kTinyGpt2);
  auto trial = fakes::shared_trial(world, ModelTask::causal_lm, 3);
  trial.train.clip_norm = 0.1;
  const std::string whole = fakes::train_whole(world, trial);
  for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {2}})
    for (const bool emulated : {false, true}) {
      EngineSetup setup;
      setup.cuts = cuts;
      setup.emulated = emulated;
      MemoryDiskTier disk;
      EXPECT_EQ(fakes::train(world, {trial}, setup, disk).outcomes[0], whole) << cuts.size() << emulated;
    }
}

TEST_F(SharedStepsTest, RunningOutOfMemoryCutsAMemberAndGivesTheSameBits) {
  const SmallWorld world(fakes::kTinyBert);
  auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 2);
  const std::string whole = fakes::train_whole(world, trial);
  std::uint64_t recuts = 0;
  const auto train_with = [&](bool emulated, Bytes memory) {
    EngineSetup small;
    small.emulated = emulated;
    small.device_memory = memory;
    Visits visits(2);
    const auto [results, failures] = fakes::train_together(world, {trial}, {EngineSetup(), small}, visits.ends());
    for (std::size_t m = 0; m < 2; ++m) {
      ASSERT_EQ(failures[m], "") << memory;
      EXPECT_EQ(results[m].outcomes[0], whole) << memory;
    }
    for (const auto& device : results[1].devices) {
      EXPECT_LE(device.memory_peak, memory);
      recuts += device.recuts;
    }
  };
  for (const Bytes memory : {900 * KiB, 700 * KiB, 500 * KiB, 420 * KiB}) train_with(true, memory);
  EXPECT_GT(recuts, 0u);
  recuts = 0;
  // In host memory layers may be handed over before their task runs out of memory.
  for (Bytes memory = 150 * KiB; memory <= 450 * KiB; memory += 10 * KiB) train_with(false, memory);
  EXPECT_GT(recuts, 0u);
}

TEST_F(SharedStepsTest, ATrialInterleavesWithOthersWhileItExchanges) {
  // The exchange holds no device: another trial trains while the member that is waited for has not come.
  const SmallWorld world(fakes::kTinyBert);
  const auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 2);
  TrialToRun other = fakes::shared_trial(world, ModelTask::sequence_classification, 1);
  other.seed = 7;
  Visits visits(2);
  EngineSetup setup;
  setup.cuts = {2};
  const auto [results, failures] = fakes::train_together(world, {trial, other}, {setup, setup}, visits.ends());
  for (const auto& failure : failures) ASSERT_EQ(failure, "");
  for (const auto& result : results) {
    EXPECT_EQ(result.outcomes[0], fakes::train_whole(world, trial));
    EXPECT_EQ(result.outcomes[1], fakes::train_whole(world, other));
  }
}

TEST_F(SharedStepsTest, AMemberThatDiesEndsTheVisitOfTheOthers) {
  const SmallWorld world(fakes::kTinyBert);
  const auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 3);
  for (std::uint32_t dies = 0; dies < 3; ++dies)
    for (const std::uint64_t part : {0, 1, 9}) {
      Visits visits(3);
      visits.die(dies, 1, part);
      const auto [results, failures] =
          fakes::train_together(world, {trial}, std::vector(3, EngineSetup()), visits.ends());
      for (const auto& failure : failures) ASSERT_EQ(failure, "");
      for (const auto& result : results) {
        EXPECT_NE(result.errors[0].find("died"), std::string::npos) << result.errors[0];
        EXPECT_TRUE(result.broken[0]) << "an error of its own kind";
      }
    }
}

TEST_F(SharedStepsTest, AllMembersFindThatTheTrialDiverged) {
  const SmallWorld world(fakes::kTinyBert);
  for (const std::uint32_t degree : {2u, 3u}) {
    auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, degree);
    trial.train.optimizer.lr = 1e30;
    Visits visits(degree);
    const auto [results, failures] =
        fakes::train_together(world, {trial}, std::vector(degree, EngineSetup()), visits.ends());
    for (const auto& failure : failures) ASSERT_EQ(failure, "");
    for (const auto& result : results) {
      EXPECT_NE(result.errors[0].find("not a finite number"), std::string::npos) << result.errors[0];
      EXPECT_EQ(result.errors[0], results[0].errors[0]);
      EXPECT_FALSE(result.broken[0]);
    }
  }
}

TEST_F(SharedStepsTest, DrawnSetupsEqualOneProcess) {
  const SmallWorld mlp(fakes::kTinyMlp), bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    KeyedStream draw(seed);
    const std::array worlds{&mlp, &bert, &gpt2};
    const auto which = draw.below(3);
    const SmallWorld& world = *worlds[which];
    const auto degree = static_cast<std::uint32_t>(2 + draw.below(3));
    const bool tied = which == 2;
    const auto freeze = which == 1 ? static_cast<std::int64_t>(draw.below(3)) : 0;
    auto trial =
        fakes::shared_trial(world, tied ? ModelTask::causal_lm : ModelTask::sequence_classification, degree, freeze);
    trial.seed = seed;
    trial.train.batch_size = static_cast<std::uint32_t>(1 + draw.below(8));
    trial.train.micro_batch_size = static_cast<std::uint32_t>(1 + draw.below(trial.train.batch_size));
    trial.rows_per_visit = static_cast<std::uint32_t>(3 + draw.below(14));
    if (draw.below(2) == 0) trial.train.clip_norm = 0.05;
    if (draw.below(2) == 0) trial.train.precision = Precision::bf16;
    if (draw.below(3) == 0) fakes::skip_some_steps(trial.train);
    const auto layers = trial.source->description().layers.size();
    std::vector<EngineSetup> setups(degree);
    for (auto& setup : setups) {
      for (std::uint32_t cut = 1; cut < layers; ++cut)
        if (draw.below(3) == 0) setup.cuts.push_back(cut);
      setup.emulated = draw.below(2) == 0;
      setup.devices = static_cast<std::uint32_t>(1 + draw.below(2));
      setup.window_share = draw.below(2) == 0 ? 1 : 0.2 * static_cast<double>(draw.below(5));
      setup.execute.keep_activations = draw.below(2) == 0;
      setup.execute.double_buffer = draw.below(4) != 0;
      setup.execute.lookahead = static_cast<std::uint32_t>(1 + draw.below(8));
    }
    expect_whole(world, trial, setups, text::cat("seed ", seed));
  }
}

}  // namespace
}  // namespace hopyard
