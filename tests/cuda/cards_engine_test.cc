// The whole engine on cards that are none: the same bits in whatever order they work, and an end when one is lost.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <tuple>

#include "base/clock.h"
#include "base/rng.h"
#include "cuda/cuda_device.h"
#include "fakes/drawn_runs.h"
#include "fakes/fake_cuda.h"
#include "fakes/forgetful_calls.h"
#include "fakes/small_world.h"
#include "fakes/unkind_calls.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::FakeCuda;
using fakes::FakeCudaSpec;
using fakes::ForgetfulCalls;
using fakes::OrderingSite;
using fakes::SmallWorld;
using fakes::TrialToRun;
using Cards = std::vector<std::unique_ptr<FakeCuda>>;

DeviceSpec card_spec(Bytes memory) { return {DeviceSpec::Type::cuda, 1, memory, 0, 0, 1}; }

/// Every other seed's cards read from each other.
bool are_peers(std::uint64_t seed) { return seed % 2 == 1; }

FakeCudaSpec fake_spec(std::uint64_t seed, std::uint32_t card, Bytes memory) {
  return {.seed = derive(seed, card),
          .memory = memory,
          .eager_compute = true,
          .delay_s_max = seed % 4 == 0 ? 1e-4 : 0,
          .reaches_others = are_peers(seed)};
}

/// Makes devices over cards that outlive them.
auto device_over(Cards& cards, std::uint64_t seed, OrderingSite forgotten) {
  return [&cards, seed, forgotten](std::uint32_t card, Bytes memory) {
    cards.push_back(std::make_unique<FakeCuda>(fake_spec(seed, card, memory)));
    return make_cuda_device_over(std::make_unique<ForgetfulCalls>(*cards.back(), forgotten), card_spec(memory), card,
                                 nullptr);
  };
}

class CardsEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    for (const char* config : {fakes::kTinyBert, fakes::kTinyGpt2, fakes::kTinyMlp}) {
      worlds_.push_back(std::make_unique<SmallWorld>(config));
      for (const bool clip : {false, true}) {
        TrialToRun trial;
        trial.source = worlds_.back()->source(config == fakes::kTinyGpt2 ? ModelTask::causal_lm
                                                                         : ModelTask::sequence_classification);
        trial.train.batch_size = 4;
        trial.train.micro_batch_size = 2;
        trial.visits = 1;
        if (clip) trial.train.clip_norm = 0.5;
        trial.seed = trials_.size() + 1;
        whole_.push_back(fakes::train_whole(*worlds_.back(), trial));
        trials_.push_back(std::move(trial));
      }
    }
  }

  struct Drawn {
    std::size_t world = 0;
    std::vector<TrialToRun> trials;
    std::vector<std::string> whole;
    EngineSetup setup;
  };
  /// One to three trials of one model, cut anyhow, on one or two cards.
  Drawn draw(std::uint64_t seed) const {
    KeyedStream stream(derive(seed, "engine on cards"));
    Drawn drawn;
    drawn.world = stream.below(worlds_.size());
    const std::size_t count = 1 + stream.below(3);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t which = 2 * drawn.world + stream.below(2);
      drawn.trials.push_back(trials_[which]);
      drawn.whole.push_back(whole_[which]);
    }
    const auto layers = static_cast<std::uint32_t>(drawn.trials[0].source->description().layers.size());
    for (std::uint32_t cut = 1; cut < layers; ++cut)
      if (stream.below(2) == 0) drawn.setup.cuts.push_back(cut);
    drawn.setup.devices = 1 + static_cast<std::uint32_t>(stream.below(2));
    drawn.setup.execute.double_buffer = stream.below(4) > 0;
    drawn.setup.execute.keep_activations = stream.below(2) == 0;
    drawn.setup.window_share = stream.below(3) == 0 ? 0.4 : 1;
    drawn.setup.execute.cuda_graphs = stream.below(2) == 0;
    return drawn;
  }

  /// What a card needs for all of these trials whole, and so many times the workspace of one.
  Bytes memory_for(const Drawn& drawn, double workspaces) const {
    Bytes state = 0, workspace = 0;
    for (const auto& trial : drawn.trials) {
      const TrialSetup setup = fakes::trial_setup(*worlds_[drawn.world], trial, 0, drawn.setup);
      state += setup.plan.shards.at(0).backward_load_bytes;
      workspace = std::max(workspace, largest_workspace(setup.plan));
    }
    return (state + static_cast<Bytes>(workspaces * static_cast<double>(workspace))) / 31 * 32;
  }

  std::vector<std::unique_ptr<SmallWorld>> worlds_;
  std::vector<TrialToRun> trials_;  // for each world, without and with clipped gradients
  std::vector<std::string> whole_;  // what each of them gives
};

TEST_F(CardsEngineTest, GivesTheBitsOfAPlainLoopInWhateverOrderTheCardsWork) {
  const std::uint64_t runs = fakes::drawn_runs(200);
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    Drawn drawn = draw(seed);
    Cards cards;
    drawn.setup.make_device = device_over(cards, seed, OrderingSite::none);
    MemoryDiskTier disk;
    const auto result = fakes::train(*worlds_[drawn.world], drawn.trials, drawn.setup, disk);
    ASSERT_EQ(result.outcomes, drawn.whole) << "seed " << seed;
    for (const auto& card : cards) ASSERT_EQ(card->misuse(), "") << "seed " << seed;
  }
}

TEST_F(CardsEngineTest, BoundariesGoStraightFromCardToCardWhereCardsReadFromEachOther) {
  const std::uint64_t runs = fakes::drawn_runs(40);
  std::uint64_t straight = 0;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    Drawn drawn = draw(seed);
    drawn.setup.devices = 2;
    Cards cards;
    drawn.setup.make_device = device_over(cards, seed, OrderingSite::none);
    MemoryDiskTier disk;
    ASSERT_EQ(fakes::train(*worlds_[drawn.world], drawn.trials, drawn.setup, disk).outcomes, drawn.whole) << seed;
    for (const auto& card : cards) {
      ASSERT_TRUE(are_peers(seed) || card->from_cards() == 0) << seed;
      straight += card->from_cards() > 0;
    }
  }
  EXPECT_GT(straight, 0u);
}

TEST_F(CardsEngineTest, CopiesOnTheLinkGiveTheBitsOfAPlainLoop) {
  const std::uint64_t runs = fakes::drawn_runs(60);
  // By world, with or without clipped gradients, in bf16 or fp16.
  std::map<std::tuple<std::size_t, bool, Precision>, std::string> known;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    Drawn drawn = draw(seed);
    for (std::size_t i = 0; i < drawn.trials.size(); ++i) {
      TrialToRun& trial = drawn.trials[i];
      trial.train.precision = Precision::bf16;
      if ((seed / 2 + i) % 3 == 0) fakes::skip_some_steps(trial.train);
      trial.train.update = (seed + i) % 2 == 0 ? UpdatePlace::host : UpdatePlace::device;
      std::string& whole = known[{drawn.world, trial.train.clip_norm.has_value(), trial.train.precision}];
      if (whole.empty()) whole = fakes::train_whole(*worlds_[drawn.world], trial);
      drawn.whole[i] = whole;
    }
    Cards cards;
    drawn.setup.make_device = device_over(cards, seed, OrderingSite::none);
    MemoryDiskTier disk;
    const auto result = fakes::train(*worlds_[drawn.world], drawn.trials, drawn.setup, disk);
    ASSERT_EQ(result.outcomes, drawn.whole) << "seed " << seed;
    for (const auto& card : cards) ASSERT_EQ(card->misuse(), "") << "seed " << seed;
  }
}

TEST_F(CardsEngineTest, StepsThatWereRecordedGiveTheBitsOfAPlainLoop) {
  const std::uint64_t runs = fakes::drawn_runs(60);
  std::map<std::tuple<std::size_t, bool, Precision, std::uint32_t>, std::string> known;
  std::uint64_t asked = 0, asked_in_little = 0;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    Drawn drawn = draw(seed);
    drawn.setup.cuts.clear();
    drawn.setup.execute.cuda_graphs = true;
    // Of one to four rows, of which the last may have fewer.
    const auto micro_batch = 1 + static_cast<std::uint32_t>(seed / 3 % 4);
    for (std::size_t i = 0; i < drawn.trials.size(); ++i) {
      TrialToRun& trial = drawn.trials[i];
      trial.train.precision = (seed + i) % 2 == 0 ? Precision::fp32 : Precision::bf16;
      trial.train.micro_batch_size = micro_batch;
      trial.train.update = UpdatePlace::device;  // clipped ones, too, stay on their card
      std::string& whole = known[{drawn.world, trial.train.clip_norm.has_value(), trial.train.precision, micro_batch}];
      if (whole.empty()) whole = fakes::train_whole(*worlds_[drawn.world], trial);
      drawn.whole[i] = whole;
    }
    // A third of the cards have no room for a record; another third have some until another trial's bytes come.
    if (seed % 3 > 0) drawn.setup.device_memory = memory_for(drawn, seed % 3 == 1 ? 1.5 : 2.5);
    Cards cards;
    drawn.setup.make_device = device_over(cards, seed, OrderingSite::none);
    MemoryDiskTier disk;
    const auto result = fakes::train(*worlds_[drawn.world], drawn.trials, drawn.setup, disk);
    ASSERT_EQ(result.outcomes, drawn.whole) << "seed " << seed;
    for (const auto& card : cards) {
      ASSERT_EQ(card->misuse(), "") << "seed " << seed;
      ASSERT_TRUE(drawn.trials.size() > 1 || seed % 3 != 1 || card->graphs_asked() == 0) << "seed " << seed;
      (seed % 3 == 0 ? asked : asked_in_little) += card->graphs_asked();
    }
  }
  EXPECT_GT(asked, runs);
  EXPECT_GT(asked_in_little, 0u);
}

TEST_F(CardsEngineTest, StepsBehindFrozenLayersAreRecordedWithTheSameBits) {
  std::uint64_t seed = 0;
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp16})
    for (std::size_t world = 0; world < worlds_.size(); ++world)
      for (const std::uint32_t freeze : {1u, 2u})
        for (const bool features : {false, true}) {
          TrialToRun trial = trials_[2 * world];
          trial.source = worlds_[world]->source(trial.source->spec().task, freeze);
          trial.train.precision = precision;
          trial.train.update = UpdatePlace::device;
          if (precision == Precision::fp16) fakes::skip_some_steps(trial.train);
          trial.visits = 2;
          if (features) trial.first_layer = trial.source->frozen_layers();
          Cards cards;
          EngineSetup setup;
          setup.execute.cuda_graphs = true;
          setup.copies = seed % 2 == 0;
          setup.make_device = device_over(cards, ++seed, OrderingSite::none);
          MemoryDiskTier disk;
          const auto result = fakes::train(*worlds_[world], {trial}, setup, disk);
          const auto what =
              text::cat("world ", world, ", ", to_string(precision), ", freeze ", freeze, features ? ", features" : "");
          EXPECT_EQ(result.outcomes[0], fakes::train_whole(*worlds_[world], trial)) << what;
          EXPECT_GT(cards[0]->graphs_asked(), 0u) << what;
        }
}

TEST_F(CardsEngineTest, WhatIsLetGoIsReadByNobody) {
  const fakes::UnkindWays at_once{
      .poison = [](void* data, Bytes bytes, StreamHandle) { std::memset(data, 0xff, bytes); },
      .dawdle = [](StreamHandle) {}};
  const std::uint64_t runs = fakes::drawn_runs(40);
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    Drawn drawn = draw(seed);
    Cards cards;
    drawn.setup.make_device = [&](std::uint32_t card, Bytes memory) {
      cards.push_back(std::make_unique<FakeCuda>(fake_spec(seed, card, memory)));
      return make_cuda_device_over(std::make_unique<fakes::UnkindCalls>(*cards.back(), at_once, seed),
                                   card_spec(memory), card, nullptr);
    };
    MemoryDiskTier disk;
    ASSERT_EQ(fakes::train(*worlds_[drawn.world], drawn.trials, drawn.setup, disk).outcomes, drawn.whole) << seed;
  }
}

TEST_F(CardsEngineTest, NoOrderingCanBeForgotten) {
  for (const auto site :
       {OrderingSite::load_end_record, OrderingSite::load_synchronize, OrderingSite::store_end_record,
        OrderingSite::store_synchronize, OrderingSite::compute_record, OrderingSite::compute_synchronize}) {
    bool seen = false;
    for (std::uint64_t seed = 0; seed < 20 && !seen; ++seed) {
      Drawn drawn = draw(seed);
      Cards cards;
      drawn.setup.make_device = device_over(cards, seed, site);
      MemoryDiskTier disk;
      try {
        seen = fakes::train(*worlds_[drawn.world], drawn.trials, drawn.setup, disk).outcomes != drawn.whole;
      } catch (const Failure&) {
        seen = true;  // a loss that is not finite
      }
      for (const auto& card : cards) seen |= !card->misuse().empty();
    }
    EXPECT_TRUE(seen) << to_string(site) << " can be forgotten, and nobody sees it";
  }
}

TEST_F(CardsEngineTest, ATrialMayBeAbandonedAtAnyMoment) {
  const std::uint64_t runs = fakes::drawn_runs(100);
  std::uint64_t abandoned = 0;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    Drawn drawn = draw(seed);
    Cards cards;
    drawn.setup.make_device = device_over(cards, seed, OrderingSite::none);
    drawn.setup.meanwhile = [seed](Executor& executor) {
      sleep_seconds(1e-5 * static_cast<double>(KeyedStream(seed).below(4000)));
      executor.abandon_visit(0);
    };
    MemoryDiskTier disk;
    const auto result = fakes::train(*worlds_[drawn.world], drawn.trials, drawn.setup, disk);
    const bool is_gone = !result.errors[0].empty();
    abandoned += is_gone;
    for (std::size_t i = is_gone; i < drawn.trials.size(); ++i)
      ASSERT_EQ(result.outcomes[i], drawn.whole[i]) << "seed " << seed;
    for (const auto& card : cards) ASSERT_EQ(card->misuse(), "") << "seed " << seed;
  }
  EXPECT_GT(abandoned, 0u);
}

TEST_F(CardsEngineTest, ALostCardEndsTheRunAndNobodyWaits) {
  const std::uint64_t runs = fakes::drawn_runs(100);
  std::uint64_t failed = 0;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    Drawn drawn = draw(seed);
    drawn.setup.make_device = [&](std::uint32_t card, Bytes memory) {
      auto fake = std::make_unique<FakeCuda>(fake_spec(seed, card, memory));
      FakeCuda& losing = *fake;
      auto device = make_cuda_device_over(std::move(fake), card_spec(memory), card, nullptr);
      if (card == 0) losing.fail_after(KeyedStream(seed).below(400), CudaFault::lost_card);
      return device;
    };
    MemoryDiskTier disk;
    try {
      const auto result = fakes::train(*worlds_[drawn.world], drawn.trials, drawn.setup, disk);
      ASSERT_EQ(result.outcomes, drawn.whole) << "seed " << seed;
    } catch (const CudaFailure& failure) {
      EXPECT_NE(std::string(failure.what()).find("the card is lost"), std::string::npos) << failure.what();
      ++failed;
    }
  }
  EXPECT_GT(failed, runs / 4);
}

}  // namespace
}  // namespace hopyard
