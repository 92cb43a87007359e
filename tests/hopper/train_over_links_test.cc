// Several engines that train a trial together over links end with the bits of one, or with an error that says whom they
// missed.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "fakes/train_together.h"
#include "hopper/all_reduce_exchange.h"
#include "hopper/server_end.h"
#include "hopper/three_workers.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;

/// Its member's process is gone before its so many-th sum.
class MortalExchange final : public StepExchange {
 public:
  MortalExchange(std::shared_ptr<StepExchange> inner, int sums) : inner_(std::move(inner)), left_(sums) {}
  bool in_order() const override { return inner_->in_order(); }
  void gather(std::span<double> values, MicroBatchRange own) override { inner_->gather(values, own); }
  void sum(std::span<const GradientPart> parts, std::span<std::byte> staging) override {
    if (left_-- == 0) {
      inner_->cancel("this process died");
      throw ExchangeBroken("this process died");
    }
    inner_->sum(parts, staging);
  }
  void cancel(const std::string& reason) override { inner_->cancel(reason); }
  ExchangeTraffic traffic() const override { return inner_->traffic(); }

 private:
  const std::shared_ptr<StepExchange> inner_;
  int left_;
};

/// Of all members, which have one model; those of one process that trains alone are as near as the margin.
void expect_near(const std::vector<fakes::EngineResult>& members, const fakes::EngineResult& alone, double margin) {
  for (const auto& member : members) {
    ASSERT_EQ(member.errors[0], "");
    EXPECT_EQ(member.outcomes[0], members[0].outcomes[0]);
    ASSERT_EQ(member.curves[0].size(), alone.curves[0].size());
    for (std::size_t i = 0; i < alone.curves[0].size(); ++i)
      EXPECT_NEAR(member.curves[0][i].loss, alone.curves[0][i].loss, margin) << "step " << i;
  }
}

template <class Workers>
class TrainOverLinks : public testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  using Open = OpenedExchange (*)(WorkerEnd&, const ExchangeOrder&);
  fakes::TieOf ends(std::uint32_t members, Open open = open_link_exchange) {
    base_ += 100;
    return [this, members, open](std::uint32_t visit, std::uint32_t member) {
      auto opened = open(workers_.worker(member), {workers_.ids(members), member, base_ + visit, 20, 20});
      EXPECT_EQ(opened.error, "");
      const std::lock_guard lock(mutex_);
      if (member == 0) exchanges_.push_back(opened.exchange);
      return opened.exchange;
    };
  }

  fakes::TieOf server_ends(std::uint32_t members) {
    base_ += 100;
    return [this, members](std::uint32_t visit, std::uint32_t member) {
      auto opened = open_server_end(workers_.worker(member), {workers_.ids(members), member, base_ + visit, 20, 20});
      EXPECT_EQ(opened.error, "");
      return opened.end;
    };
  }

  /// The members, some cut and some whole, and a process that trains the same alone.
  static std::pair<std::vector<fakes::EngineResult>, fakes::EngineResult> train_beside_one(const SmallWorld& world,
                                                                                           const TrialToRun& trial,
                                                                                           const fakes::TieOf& ends) {
    EngineSetup whole, cut;
    cut.cuts = {1, 2};
    std::vector<EngineSetup> setups{whole, cut, whole};
    setups.resize(trial.train.data_parallel.degree);
    auto [members, failures] = fakes::train_together(world, {trial}, setups, ends);
    for (const auto& failure : failures) EXPECT_EQ(failure, "");
    TrialToRun alone = trial;
    alone.train.data_parallel = {};
    MemoryDiskTier disk;
    return {std::move(members), fakes::train(world, {alone}, whole, disk)};
  }

  Workers workers_;
  std::uint64_t base_ = 0;
  std::mutex mutex_;
  std::vector<std::shared_ptr<StepExchange>> exchanges_;  // guarded by mutex_; of member 0, one a visit
};
using Transports = testing::Types<MemoryWorkers, GlooWorkers>;
TYPED_TEST_SUITE(TrainOverLinks, Transports);

TYPED_TEST(TrainOverLinks, EqualsOneProcess) {
  const SmallWorld mlp(fakes::kTinyMlp), bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const SmallWorld* world : {&mlp, &bert, &gpt2})
    for (const std::uint32_t degree : {2u, 3u}) {
      auto trial = fakes::shared_trial(
          *world, world == &gpt2 ? ModelTask::causal_lm : ModelTask::sequence_classification, degree);
      trial.train.batch_size = 5;
      if (degree == 3) trial.train.clip_norm = 0.05;
      EngineSetup whole, cut;
      cut.cuts = {1, 2};
      cut.window_share = 0.5;
      std::vector<EngineSetup> setups{whole, cut, whole};
      setups.resize(degree);
      const auto [results, failures] = fakes::train_together(*world, {trial}, setups, this->ends(degree));
      for (std::uint32_t m = 0; m < degree; ++m) {
        EXPECT_EQ(failures[m], "");
        EXPECT_EQ(results[m].errors[0], "");
        EXPECT_EQ(results[m].outcomes[0], fakes::train_whole(*world, trial)) << degree << ", member " << m;
      }
    }
}

TYPED_TEST(TrainOverLinks, AnAllReduceGivesAllMembersOneModelAndItsBitsAreItsOwn) {
  const SmallWorld world(fakes::kTinyGpt2);
  for (const std::uint32_t degree : {2u, 3u}) {
    auto trial = fakes::shared_trial(world, ModelTask::causal_lm, degree);
    trial.train.data_parallel.sum = DataParallelSpec::Sum::all_reduce;
    trial.train.batch_size = 5;
    const auto [members, alone] = this->train_beside_one(world, trial, this->ends(degree, open_all_reduce_exchange));
    expect_near(members, alone, 1e-3);
    EXPECT_NE(members[0].outcomes[0], alone.outcomes[0]);
  }
}

TYPED_TEST(TrainOverLinks, AServerWithoutStalenessIsAnAllReduce) {
  const SmallWorld mlp(fakes::kTinyMlp), bert(fakes::kTinyBert);
  for (const SmallWorld* world : {&mlp, &bert})
    for (const bool clips : {false, true}) {
      auto trial = fakes::shared_trial(*world, ModelTask::sequence_classification, 2);
      trial.train.batch_size = 5;
      trial.rows_per_visit = 16;  // the last batch has one: the second member stands by
      if (clips) trial.train.clip_norm = 0.05;
      EngineSetup whole, cut;
      cut.cuts = {1, 2};
      cut.window_share = 0.5;
      trial.train.data_parallel.sum = DataParallelSpec::Sum::all_reduce;
      const auto summed = fakes::train_together(*world, {trial}, {whole, cut}, this->ends(2, open_all_reduce_exchange));
      trial.train.data_parallel.sum = DataParallelSpec::Sum::server;
      const auto [results, failures] = fakes::train_together(*world, {trial}, {whole, cut}, this->server_ends(2));
      for (std::uint32_t m = 0; m < 2; ++m) {
        EXPECT_EQ(failures[m], "");
        EXPECT_EQ(results[m].errors[0], "");
        EXPECT_EQ(results[m].outcomes[0], summed.members[m].outcomes[0]) << "member " << m;
        EXPECT_EQ(results[m].curves[0], summed.members[m].curves[0]);
      }
    }
}

TYPED_TEST(TrainOverLinks, AServerGivesAllMembersOneModelHoweverStaleItsParametersWere) {
  const SmallWorld world(fakes::kTinyGpt2);
  for (const std::uint32_t degree : {2u, 3u}) {
    auto trial = fakes::shared_trial(world, ModelTask::causal_lm, degree);
    trial.train.data_parallel.sum = DataParallelSpec::Sum::server;
    trial.train.data_parallel.staleness = degree;
    trial.train.batch_size = 5;
    const auto [members, alone] = this->train_beside_one(world, trial, this->server_ends(degree));
    expect_near(members, alone, 0.1);
    for (const auto& member : members) EXPECT_EQ(member.curves[0], members[0].curves[0]);
  }
}

TYPED_TEST(TrainOverLinks, AServerWithStaleParametersLearns) {
  const SmallWorld world(fakes::kTinyMlp);
  auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 3);
  trial.train.data_parallel = {3, DataParallelSpec::Sum::server, 2};
  trial.train.optimizer.lr = 1e-2;
  trial.visits = 40;
  const auto [results, failures] =
      fakes::train_together(world, {trial}, std::vector(3, EngineSetup()), this->server_ends(3));
  for (std::uint32_t m = 0; m < 3; ++m) {
    ASSERT_EQ(results[m].errors[0], "") << failures[m];
    const auto& curve = results[m].curves[0];
    const std::size_t some = curve.size() / 4;
    double first = 0, last = 0;
    for (std::size_t i = 0; i < some; ++i) {
      first += curve[i].loss;
      last += curve[curve.size() - 1 - i].loss;
    }
    EXPECT_LT(last, 0.9 * first);
  }
}

TYPED_TEST(TrainOverLinks, ALossThatIsNoNumberIsTheTrialsOwnFaultAtAllMembersOfAServer) {
  const SmallWorld world(fakes::kTinyMlp);
  auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 3);
  trial.train.data_parallel = {3, DataParallelSpec::Sum::server, 1};
  trial.train.optimizer.lr = 1e38;
  const auto [results, failures] =
      fakes::train_together(world, {trial}, std::vector(3, EngineSetup()), this->server_ends(3));
  for (std::uint32_t m = 0; m < 3; ++m) {
    EXPECT_EQ(failures[m], "");
    EXPECT_FALSE(results[m].broken[0]) << results[m].errors[0];
    EXPECT_NE(results[m].errors[0], "");
    EXPECT_EQ(results[m].errors[0], results[0].errors[0]);
  }
}

TYPED_TEST(TrainOverLinks, WhatTravelsIsTheFormulas) {
  const SmallWorld world(fakes::kTinyBert);
  const auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 2);
  Bytes model = 0;
  for (const auto& layer : trial.source->description().layers) model += layout_of(layer, Part::own).bytes;
  const auto ends = this->ends(2);
  fakes::train_together(world, {trial}, std::vector(2, EngineSetup()), ends);
  ExchangeTraffic sum;
  for (const auto& exchange : this->exchanges_) {
    sum.sent += exchange->traffic().sent;
    sum.received += exchange->traffic().received;
  }
  // 2 · m · (p − 1) a step, of which member 0 of two sends and receives one half each.
  const auto expected = static_cast<double>(model * batch_count(trial.rows_per_visit, trial.train.batch_size) * 2);
  EXPECT_NEAR(static_cast<double>(sum.sent), expected, expected / 100);
  EXPECT_NEAR(static_cast<double>(sum.received), expected, expected / 100);
}

TYPED_TEST(TrainOverLinks, AMemberThatDiesEndsTheVisitOfTheOthers) {
  const SmallWorld world(fakes::kTinyBert);
  const auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 3);
  for (std::uint32_t dies = 0; dies < 3; ++dies) {
    const auto ends = this->ends(3);
    const double begin = monotonic_seconds();
    const auto [results, failures] = fakes::train_together(
        world, {trial}, std::vector(3, EngineSetup()), [&](std::uint32_t visit, std::uint32_t member) {
          const auto end = ends(visit, member);
          if (visit != 1 || member != dies) return end;
          return std::shared_ptr<VisitTie>(
              std::make_shared<MortalExchange>(std::dynamic_pointer_cast<StepExchange>(end), 1));
        });
    for (std::uint32_t m = 0; m < 3; ++m) {
      EXPECT_EQ(failures[m], "");
      EXPECT_NE(results[m].errors[0], "");
      EXPECT_TRUE(results[m].broken[0]) << results[m].errors[0];
    }
    EXPECT_LT(monotonic_seconds() - begin, 15);
  }
}

}  // namespace
}  // namespace hopyard
