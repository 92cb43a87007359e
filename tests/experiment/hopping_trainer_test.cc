// The coordinator's decisions with workers that train on paper: what is committed, exactly once, whatever dies.
#include "experiment/hopping_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "base/clock.h"
#include "experiment/experiment.h"
#include "fakes/drawn_runs.h"
#include "fakes/memory_journal.h"
#include "fakes/paper_workers.h"

namespace hopyard {
namespace {

using fakes::MemoryNetwork;
using fakes::PaperFaults;
using fakes::PaperWorkers;
using ::testing::ContainsRegex;

struct Death : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Workers do something whenever their coordinator listens.
class ListeningEnd final : public CoordinatorEnd {
 public:
  ListeningEnd(std::unique_ptr<CoordinatorEnd> end, PaperWorkers& workers) : end_(std::move(end)), workers_(workers) {}
  std::optional<CoordinatorEvent> next(double) override {
    workers_.step();
    return end_->next(0);
  }
  void wake() override { end_->wake(); }
  SendStatus send(const WorkerId& to, std::string message) override { return end_->send(to, std::move(message)); }
  void expel(const WorkerId& worker, const std::string& reason) override { end_->expel(worker, reason); }
  Endpoint endpoint() const override { return end_->endpoint(); }
  TrafficByRank traffic() const override { return end_->traffic(); }

 private:
  std::unique_ptr<CoordinatorEnd> end_;
  PaperWorkers& workers_;
};

class HoppingTrainerTest : public ::testing::Test {
 protected:
  /// Runs until the end, or until so many steps are over: then the coordinator dies.
  ExperimentEnd run(PaperWorkers& workers, int steps_to_live = -1) {
    MemoryNetwork network;
    ListeningEnd end(network.open_coordinator(), workers);
    workers.join(network, workers_);
    const auto searcher = make_searcher(search_, space_, 5);
    const auto scheduler = make_visit_scheduler(kind_, 3);
    std::vector<ShopWorker> shop_workers(workers_);
    for (auto& worker : shop_workers) worker.lookahead = 1;
    std::optional<ExperimentEnd> result;
    {
      HoppingTrainer trainer({end, place_partitions(partitions_, workers_, replication_), shop_workers, *scheduler,
                              kind_ == VisitSchedulerKind::task, state_replicas_, patience_s_,
                              [this](const std::string& line) { log_ += line + "\n"; },
                              [this](const TrialScore& score, const RowOutcomes& rows) { kept_[score.digest] = rows; },
                              valid_, search_.metric});
      int steps = 0;
      Experiment experiment({*searcher, *journal_, trainer, partitions_, search_.metric, 4, "resources",
                             [this](const TrialSpec& spec, std::uint32_t number) { return resolve(spec, number); },
                             [this](const std::string& line) { log_ += line + "\n"; }, [] {}, interrupted_, 5,
                             [&](Experiment& running) {
                               if (steps++ == steps_to_live) throw Death("the coordinator is gone");
                               if (meanwhile_) meanwhile_(running, workers);
                             }});
      try {
        result = experiment.run();
      } catch (const Death&) {
      } catch (...) {
        workers.leave();  // while there is a network
        throw;
      }
      report_ = trainer.report();
    }
    workers.leave();
    return result.value_or(ExperimentEnd::interrupted);
  }

  void expect_interrupted(PaperWorkers& workers, const std::string& sentence) {
    try {
      run(workers);
      ADD_FAILURE() << "ended\n" << log_;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::interrupted);
      EXPECT_THAT(failure.what(), ContainsRegex(sentence));
    }
  }

  TrialSetup resolve(const TrialSpec& spec, std::uint32_t number) const {
    TrialSetup setup;
    setup.number = number;
    setup.id = spec.id;
    setup.seed = spec.seed;
    setup.rotation = seed_rotation(spec.seed, partitions_);
    setup.train.epochs = 2;
    if (number % 2 == 0) setup.train.data_parallel = team_;
    setup.total_steps = 2 * partitions_;
    setup.plan.compute_s = 1;
    setup.materialise_to = 0;  // it has no layers
    return setup;
  }

  /// Each trial has each visit once, in its order, and its state is what these visits make.
  void expect_exactly_once() const {
    std::map<std::string, std::vector<std::uint32_t>> visited;
    for (const auto& commit : journal_->commits()) {
      auto& before = visited[commit.trial];
      ASSERT_EQ(before.size(), commit.epoch * partitions_ + commit.visit) << commit.trial;
      before.push_back(commit.partition);
      ASSERT_EQ(commit.digest, fakes::paper_state(commit.trial, before));
    }
    for (const auto& record : journal_->trials()) {
      ASSERT_EQ(record.state, TrialState::finished) << record.spec.id << ": " << record.reason << '\n' << log_;
      const auto& order = visited[record.spec.id];
      ASSERT_EQ(order.size(), 2 * partitions_);
      for (int epoch = 0; epoch < 2; ++epoch)
        EXPECT_EQ(
            std::set<std::uint32_t>(order.begin() + epoch * partitions_, order.begin() + (epoch + 1) * partitions_)
                .size(),
            partitions_);
      EXPECT_EQ(record.scores.size(), 2u);
      EXPECT_EQ(record.curve.size(), 2 * order.size()) << "of each visit a part and the rest";
    }
  }

  /// Of each trial the last state, at rank 0 and nowhere else.
  void expect_only_last_states_at_home(const PaperWorkers& workers) const {
    for (const auto& record : journal_->trials()) {
      ASSERT_TRUE(workers.held(0).contains(record.spec.id)) << record.spec.id << '\n' << log_;
      const auto& states = workers.held(0).at(record.spec.id);
      EXPECT_EQ(states.size(), 1u) << record.spec.id;
      EXPECT_EQ(states.rbegin()->second, record.last->digest);
    }
    for (std::uint32_t rank = 1; rank < workers_; ++rank) EXPECT_TRUE(workers.held(rank).empty()) << rank;
  }

  std::map<std::string, std::string> digests() const {
    std::map<std::string, std::string> all;
    for (const auto& record : journal_->trials()) all[record.spec.id] = record.last->digest;
    return all;
  }

  /// Of each trial the state that its rotation makes.
  std::map<std::string, std::string> undisturbed() const {
    std::map<std::string, std::string> all;
    for (const auto& record : journal_->trials()) {
      std::vector<std::uint32_t> order;
      for (std::uint32_t visits = 0; visits < 2 * partitions_; ++visits)
        order.push_back(partition_in_order(seed_rotation(record.spec.seed, partitions_), nullptr, visits, partitions_));
      all[record.spec.id] = fakes::paper_state(record.spec.id, order);
    }
    return all;
  }

  std::uint32_t workers_ = 3, partitions_ = 6, replication_ = 2, state_replicas_ = 2;
  double patience_s_ = 5;
  DataParallelSpec team_;  ///< of every second trial
  VisitSchedulerKind kind_ = VisitSchedulerKind::seed;
  SearchSpec search_;
  std::vector<Dimension> space_ = {{"train.optimizer.lr", Dimension::Kind::grid, {1e-3, 2e-3, 3e-3, 4e-3, 5e-3}}};
  std::unique_ptr<MemoryJournal> journal_ = std::make_unique<MemoryJournal>();
  HoppingReport report_;
  std::function<void(Experiment&, PaperWorkers&)> meanwhile_;
  std::string log_;
  Placement valid_;  // of validation rows; without any, each worker has all
  std::map<std::string, RowOutcomes> kept_;
  const std::atomic<bool> interrupted_{false};
};

TEST_F(HoppingTrainerTest, EachTrialVisitsEachPartitionOnceAnEpochAndEndsAtHome) {
  for (const auto kind : kVisitSchedulerKinds)
    for (const std::uint32_t degree : {1, 2}) {
      SCOPED_TRACE(text::cat(to_string(kind), ' ', degree));
      kind_ = kind;
      team_.degree = degree;
      journal_ = std::make_unique<MemoryJournal>();
      PaperWorkers workers(workers_, partitions_, 1, {});
      ASSERT_EQ(run(workers), ExperimentEnd::finished);
      expect_exactly_once();
      expect_only_last_states_at_home(workers);
      EXPECT_EQ(report_.failed_hops, 0u);
      EXPECT_EQ(report_.team_visits, degree == 1 ? 0 : 3 * 2 * partitions_);
    }
}

TEST_F(HoppingTrainerTest, ATeamOfAllWorkersHoldsItsStateSoThatNoneHops) {
  space_ = {{"train.optimizer.lr", Dimension::Kind::grid, {1e-3}}};
  replication_ = team_.degree = workers_;
  PaperWorkers workers(workers_, partitions_, 1, {});
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  expect_exactly_once();
  EXPECT_EQ(report_.hops, 0u);
}

TEST_F(HoppingTrainerTest, MembersThatDisagreeAreSaidAndTheVisitIsTrainedAgain) {
  team_.degree = 2;
  PaperWorkers workers(workers_, partitions_, 1, {.wrong_member = 0.05});
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  expect_exactly_once();
  EXPECT_NE(log_.find("have states with different digests"), std::string::npos);
}

TEST_F(HoppingTrainerTest, ATrialWhoseMembersNeverAgreeHasFailed) {
  team_.degree = 2;
  // Both would have to be wrong.
  PaperWorkers workers(workers_, partitions_, 1, {.wrong_member = 0.5});
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  std::uint32_t failed = 0;
  for (const auto& record : journal_->trials())
    if (record.state == TrialState::failed) {
      ++failed;
      EXPECT_NE(record.reason.find("different digests"), std::string::npos) << record.reason;
    }
  EXPECT_GT(failed, 0u);
}

TEST_F(HoppingTrainerTest, AnOrderedTeamGoesOnWithThoseWhoLiveAndOthersSayWhoIsMissing) {
  replication_ = workers_ = 2;
  patience_s_ = 0.05;
  team_.degree = 2;
  using Sum = DataParallelSpec::Sum;
  for (const auto sum : {Sum::ordered, Sum::all_reduce, Sum::server}) {
    team_.sum = sum;
    journal_ = std::make_unique<MemoryJournal>();
    log_.clear();
    PaperWorkers workers(workers_, partitions_, 1, {});
    meanwhile_ = [](Experiment&, PaperWorkers& all) { all.stay_away(1); };
    if (sum == Sum::ordered) {
      ASSERT_EQ(run(workers), ExperimentEnd::finished);
      expect_exactly_once();
      continue;
    }
    try {
      run(workers);
      FAIL() << "a team of two went on alone";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::interrupted);
      EXPECT_NE(std::string(failure.what()).find("trains on 2 workers together, and 1 lives"), std::string::npos)
          << failure.what();
    }
  }
}

TEST_F(HoppingTrainerTest, WhatARunWaitedForInVainIsNamed) {
  replication_ = 2;
  patience_s_ = 0.05;
  const auto sentence = [&](std::size_t visits) -> std::string {
    journal_ = std::make_unique<MemoryJournal>();
    PaperWorkers workers(workers_, partitions_, 1, {});
    meanwhile_ = [this, visits](Experiment&, PaperWorkers& all) {
      if (journal_->commits().size() >= visits) all.stay_away(2);
    };
    try {
      run(workers);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::interrupted);
      return failure.what();
    }
    return "it came to its end";
  };
  team_.degree = 2;
  team_.sum = DataParallelSpec::Sum::all_reduce;
  EXPECT_NE(sentence(0).find("trains on 2 workers together, and too few homes of partition"), std::string::npos)
      << sentence(0);
  EXPECT_NE(sentence(0).find("live without worker 2, and nobody came"), std::string::npos) << sentence(0);
  for (const auto kind : kVisitSchedulerKinds) {
    kind_ = kind;
    for (const std::size_t visits : {3, 6, 9}) {
      const std::string said = sentence(visits), mark = "too few homes of partition ";
      const auto place = said.find(mark);
      ASSERT_NE(place, std::string::npos) << said;
      const auto partition = static_cast<std::uint32_t>(std::stoul(said.substr(place + mark.size())));
      std::vector<std::uint32_t> visited;
      for (const auto& commit : journal_->commits())
        if (said.find(commit.trial + " trains on 2 workers") != std::string::npos) visited.push_back(commit.partition);
      visited.erase(visited.begin(), visited.end() - static_cast<std::ptrdiff_t>(visited.size() % partitions_));
      EXPECT_EQ(std::count(visited.begin(), visited.end(), partition), 0) << to_string(kind) << ": " << said;
    }
  }
  kind_ = VisitSchedulerKind::seed;
  team_ = {};
  replication_ = 3;
  state_replicas_ = 1;
  const std::string held = sentence(6);
  EXPECT_NE(held.find("no living worker holds the state of"), std::string::npos) << held;
  EXPECT_NE(held.find(": it is with worker 2, and nobody came"), std::string::npos) << held;
}

/// Whatever the reason: also what looks as if the message itself were wrong.
TEST_F(HoppingTrainerTest, ARunWhoseOwnWorkerBreaksEndsAtOnceWithItsSentence) {
  for (const auto code : {ExitCode::input, ExitCode::capacity}) {
    journal_ = std::make_unique<MemoryJournal>();
    PaperWorkers workers(workers_, partitions_, 1, {});
    meanwhile_ = [&](Experiment&, PaperWorkers& all) { all.break_off(0, "its disk is odd", code); };
    try {
      run(workers);
      FAIL() << "the run went on without worker 0";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), code);
      EXPECT_STREQ(failure.what(), "worker 0: its disk is odd");
    }
  }
}

TEST_F(HoppingTrainerTest, ANudgeEndsAWaitAtOnce) {
  MemoryNetwork network;
  const auto end = network.open_coordinator();
  const auto scheduler = make_visit_scheduler(kind_, 3);
  HoppingTrainer trainer(
      {*end, place_partitions(1, 1, 1), {ShopWorker()}, *scheduler, false, 1, 5, [](const std::string&) {}});
  std::thread other([&] {
    sleep_seconds(0.05);
    trainer.nudge();
  });
  const double begin_s = monotonic_seconds();
  EXPECT_TRUE(trainer.wait(60).empty());
  other.join();
  EXPECT_LT(monotonic_seconds() - begin_s, 30);
}

TEST_F(HoppingTrainerTest, TheCopyIsTheHopSoThatAStateTravelsOnceAVisit) {
  workers_ = 2;
  replication_ = 1;
  partitions_ = 2;
  PaperWorkers workers(workers_, partitions_, 1, {});
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  const std::uint64_t visits = 5 * 2 * partitions_;
  EXPECT_LE(report_.hops, visits);  // with a copy of each state beside
  // In each epoch from the first partition to the second, where the next epoch begins.
  EXPECT_EQ(workers.left, 5 * 2);
  EXPECT_EQ(report_.hop_bytes, report_.hops * 100);
}

TEST_F(HoppingTrainerTest, WithOneReplicaOnlyStatesThatAreNeededElsewhereTravel) {
  workers_ = partitions_ = 1;
  replication_ = state_replicas_ = 1;
  PaperWorkers workers(workers_, partitions_, 1, {});
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  EXPECT_EQ(report_.hops, 0u);
}

TEST_F(HoppingTrainerTest, WhateverDiesTheSeedsOrderGivesTheUndisturbedRunsStates) {
  std::map<std::string, std::string> undisturbed;
  std::uint32_t deaths = 0, parted = 0;
  std::uint64_t failed_hops = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    team_.degree = seed % 2 == 0 ? 1 : 2 + seed / 2 % 2;
    replication_ = std::max(2u, team_.degree);
    journal_ = std::make_unique<MemoryJournal>();
    log_.clear();
    PaperWorkers workers(workers_, partitions_, seed, seed == 0 ? PaperFaults() : PaperFaults{0.01, 0.1, 0.02});
    int starts = 0;
    while (run(workers, seed % 3 == 1 && starts < 3 ? 40 : -1) != ExperimentEnd::finished) ASSERT_LT(++starts, 10);
    expect_exactly_once();
    if (HasFatalFailure()) return;
    if (seed == 0) undisturbed = digests();
    EXPECT_EQ(digests(), undisturbed);
    deaths += workers.deaths;
    failed_hops += report_.failed_hops;
    parted += workers.parted;
  }
  EXPECT_GT(deaths, 40u);
  EXPECT_GT(failed_hops, 40u);
  EXPECT_GT(parted, 20u);
}

/// Judged where validation rows are: each score is that of the committed state on all partitions, added in their order,
/// whoever judged which, and whoever died.
class HoppingJudgingTest : public HoppingTrainerTest {
 protected:
  HoppingJudgingTest() {
    search_.metric = "valid/loss";
    search_.maximize = false;
    valid_ = place_partitions(5, workers_, 1);
  }
  void expect_scores_of_whole_sets() const {
    const auto partitions = static_cast<std::uint32_t>(valid_.homes.size());
    for (const auto& commit : journal_->commits()) {
      ASSERT_EQ(commit.score.has_value(), commit.visit + 1 == partitions_);
      if (!commit.score) continue;
      double sum = 0;
      for (std::uint32_t p = 0; p < partitions; ++p) sum += PaperWorkers::paper_loss(commit.digest, p);
      EXPECT_EQ(commit.score->metric, sum / partitions) << commit.trial;
      EXPECT_EQ(commit.score->valid_loss, sum / partitions);
      EXPECT_EQ(commit.score->digest, commit.digest);
      ASSERT_TRUE(kept_.contains(commit.digest));
      std::vector<float> in_order(partitions);
      std::iota(in_order.begin(), in_order.end(), 0.0f);
      EXPECT_EQ(kept_.at(commit.digest).losses, in_order);
    }
  }
};

TEST_F(HoppingJudgingTest, ScoresAreThoseOfAllPartitionsInTheirOrder) {
  PaperWorkers workers(workers_, partitions_, 1, {}, valid_);
  ASSERT_EQ(run(workers), ExperimentEnd::finished) << log_;
  expect_exactly_once();
  expect_scores_of_whole_sets();
  expect_only_last_states_at_home(workers);
  EXPECT_EQ(workers.strays, 0u);
  EXPECT_EQ(workers.crowded, 0u);
  EXPECT_EQ(workers.missing, 0u);
  EXPECT_GE(workers.judged, 5u * 2 * 3) << "each worker is the only home of some rows";
}

TEST_F(HoppingJudgingTest, CopiesThatAreThereJudgeWithoutAFurtherHop) {
  valid_ = place_partitions(6, workers_, workers_);
  PaperWorkers workers(workers_, partitions_, 1, {}, valid_);
  ASSERT_EQ(run(workers), ExperimentEnd::finished) << log_;
  expect_scores_of_whole_sets();
  const std::uint64_t hops = report_.hops;
  journal_ = std::make_unique<MemoryJournal>();
  valid_ = {};
  PaperWorkers others(workers_, partitions_, 1, {});
  ASSERT_EQ(run(others), ExperimentEnd::finished);
  EXPECT_LE(hops, report_.hops + 5);
}

TEST_F(HoppingJudgingTest, WhateverDiesScoresAreThoseOfTheUndisturbedRun) {
  std::map<std::string, std::string> undisturbed;
  std::uint32_t deaths = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    valid_ = place_partitions(5, workers_, 1 + seed % 2);
    journal_ = std::make_unique<MemoryJournal>();
    log_.clear();
    PaperWorkers workers(workers_, partitions_, seed, seed == 0 ? PaperFaults() : PaperFaults{0.01, 0.1, 20}, valid_);
    int starts = 0;
    while (run(workers, seed % 3 == 1 && starts < 3 ? 40 : -1) != ExperimentEnd::finished) ASSERT_LT(++starts, 10);
    expect_exactly_once();
    expect_scores_of_whole_sets();
    if (HasFatalFailure()) return;
    if (seed == 0) undisturbed = digests();
    EXPECT_EQ(digests(), undisturbed);
    EXPECT_EQ(workers.strays, 0u);
    EXPECT_EQ(workers.crowded, 0u);
    deaths += workers.deaths;
  }
  EXPECT_GT(deaths, 20u);
}

TEST_F(HoppingJudgingTest, ValidationRowsWithoutALivingHomeEndTheRunWithTheirName) {
  patience_s_ = 0.05;
  replication_ = workers_;  // any worker can train
  PaperWorkers workers(workers_, partitions_, 1, {}, valid_);
  meanwhile_ = [](Experiment&, PaperWorkers& all) { all.stay_away(2); };
  try {
    run(workers);
    FAIL() << "the run ended without judging on all rows";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::interrupted);
    EXPECT_NE(std::string(failure.what()).find("of the validation rows, partition 2 has no living home"),
              std::string::npos)
        << failure.what();
  }
  for (const auto& commit : journal_->commits()) EXPECT_FALSE(commit.score.has_value());
}

TEST_F(HoppingTrainerTest, WorkersThatLeaveAreCountedApartFromThoseThatDie) {
  PaperWorkers workers(workers_, partitions_, 1, {});
  std::size_t things = 0;
  meanwhile_ = [&](Experiment&, PaperWorkers& all) {
    if (journal_->commits().size() < 12 * (things + 1) || things == 3) return;
    if (++things == 2)
      all.kill(2);
    else
      all.depart(1);
  };
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  expect_exactly_once();
  const auto counts = [&](std::uint32_t rank) {
    return std::pair(report_.workers[rank].departures, report_.workers[rank].deaths);
  };
  EXPECT_EQ(counts(0), std::pair(0u, 0u));
  EXPECT_EQ(counts(1), std::pair(2u, 0u)) << log_;
  EXPECT_EQ(counts(2), std::pair(0u, 1u));
}

/// Who sends hears of a broken link before the other end says why.
TEST_F(HoppingTrainerTest, AWorkerWhereNoStateArrivesIsGivenUpAndNotThoseThatSendToIt) {
  workers_ = replication_ = 2;
  PaperWorkers workers(workers_, partitions_, 1, {.full_disk = 1});
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  expect_exactly_once();
  EXPECT_EQ(report_.workers[0].deaths, 0u) << log_;
  EXPECT_GT(report_.workers[1].deaths, 0u) << log_;
}

/// Both ends reach the coordinator and rank 0, and train on.
TEST_F(HoppingTrainerTest, StatesGoByWayOfAThirdWhereTwoDoNotReachEachOther) {
  for (const auto kind : kVisitSchedulerKinds)
    for (const std::uint32_t replication : {1, 2})
      for (const std::uint32_t degree : {1, 2}) {
        SCOPED_TRACE(text::cat(to_string(kind), ' ', replication, ' ', degree));
        kind_ = kind;
        replication_ = replication;
        team_.degree = degree;
        state_replicas_ = replication == 1 ? degree : 2;
        journal_ = std::make_unique<MemoryJournal>();
        log_.clear();
        PaperWorkers workers(workers_, partitions_, 1, {.cut = {{1, 2}}});
        ASSERT_EQ(run(workers), ExperimentEnd::finished);
        expect_exactly_once();
        expect_only_last_states_at_home(workers);
        if (kind == VisitSchedulerKind::seed) {
          EXPECT_EQ(digests(), undisturbed());
        }
        for (const auto& worker : report_.workers) EXPECT_EQ(worker.deaths, 0u) << log_;
        EXPECT_EQ(workers.missing, 0u);
      }
}

TEST_F(HoppingTrainerTest, AStateThatGetsNowhereEndsTheRunWithTheWorkersNames) {
  workers_ = 2;
  replication_ = 1;
  patience_s_ = 0.3;
  PaperWorkers workers(workers_, partitions_, 1, {.patience = 2, .cut = {{0, 1}}});
  expect_interrupted(workers,
                     "has got nowhere for 0.3 s .workers.wait_for_worker.: its way from worker [01] to worker "
                     "[01] fails: no link; .*what is committed stays");
}

TEST_F(HoppingTrainerTest, ATeamThatHasToBeWholeAndNeverMeetsEndsTheRun) {
  workers_ = team_.degree = 2;
  team_.sum = DataParallelSpec::Sum::all_reduce;
  patience_s_ = 0.3;
  PaperWorkers workers(workers_, partitions_, 1, {.torn_team = 1, .patience = 2});
  expect_interrupted(workers, "has got nowhere for 0.3 s .*its team falls apart at worker [01]: a link");
}

/// Rank 0's worker is away when the last trial ends, and comes back.
TEST_F(HoppingTrainerTest, StatesComeHomeAlsoWhenTheirHomeWasAwayAtTheEnd) {
  PaperWorkers workers(workers_, partitions_, 1, {});
  meanwhile_ = [&](Experiment&, PaperWorkers& all) {
    if (journal_->commits().size() >= 40) all.kill(0);
  };
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  ASSERT_GT(workers.deaths, 0u);
  expect_exactly_once();
  expect_only_last_states_at_home(workers);
}

TEST_F(HoppingTrainerTest, FreeOrdersTooCommitEachVisitOnceWhateverDies) {
  for (const auto kind : {VisitSchedulerKind::patient, VisitSchedulerKind::lrtf, VisitSchedulerKind::random})
    for (std::uint64_t seed = 0; seed < 9; ++seed) {
      SCOPED_TRACE(text::cat(to_string(kind), ' ', seed));
      kind_ = kind;
      team_.degree = seed % 2 == 0 ? 1 : 2;
      journal_ = std::make_unique<MemoryJournal>();
      PaperWorkers workers(workers_, partitions_, seed, {0.01, 0.1, 0.02});
      int starts = 0;
      while (run(workers, seed % 3 == 1 && starts < 3 ? 40 : -1) != ExperimentEnd::finished) ASSERT_LT(++starts, 10);
      expect_exactly_once();
      if (HasFatalFailure()) return;
    }
}

TEST_F(HoppingTrainerTest, APartitionWithoutALivingHomeEndsTheRunWithItsName) {
  replication_ = 1;
  patience_s_ = 0.05;
  PaperWorkers workers(workers_, partitions_, 1, {});
  meanwhile_ = [](Experiment&, PaperWorkers& all) { all.stay_away(2); };
  try {
    run(workers);
    FAIL() << "the run ended without partition 2";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::interrupted);
    EXPECT_NE(std::string(failure.what()).find("partition 2 has no living home: worker 2 is not here"),
              std::string::npos)
        << failure.what();
  }
  for (const auto& record : journal_->trials()) EXPECT_LE(record.state, TrialState::active);
}

TEST_F(HoppingTrainerTest, AStoppedTrialsStateComesHomeToo) {
  PaperWorkers workers(workers_, partitions_, 1, {});
  bool asked = false;
  meanwhile_ = [&](Experiment& experiment, PaperWorkers&) {
    if (asked || journal_->commits().size() < 12) return;
    asked = true;
    OperationRequest stop;
    stop.verb = OperationVerb::stop;
    stop.trial = "t03";
    stop.token = "one";
    EXPECT_EQ(experiment.steer(stop, false).refusal, "");
  };
  ASSERT_EQ(run(workers), ExperimentEnd::finished);
  ASSERT_TRUE(asked);
  for (const auto& record : journal_->trials())
    EXPECT_EQ(record.state, record.spec.id == "t03" ? TrialState::stopped : TrialState::finished);
  expect_only_last_states_at_home(workers);
}

TEST_F(HoppingTrainerTest, WhateverAPersonAsksForMeanwhileEachTrialComesToItsEndOnce) {
  std::uint32_t taken = 0, refused = 0;
  for (std::uint64_t seed = 0; seed < 36; ++seed) {
    SCOPED_TRACE(seed);
    journal_ = std::make_unique<MemoryJournal>();
    log_.clear();
    team_.degree = seed / 2 % 2 == 0 ? 1 : 2;
    PaperWorkers workers(workers_, partitions_, seed, seed % 2 == 0 ? PaperFaults() : PaperFaults{0.01, 0.1, 0.02});
    KeyedStream draw(seed);
    int count = 0;
    meanwhile_ = [&](Experiment& experiment, PaperWorkers&) {
      if (count >= 12 || draw.below(2) > 0) return;
      constexpr OperationVerb kVerbs[] = {OperationVerb::stop, OperationVerb::resume, OperationVerb::set,
                                          OperationVerb::clone};
      OperationRequest request;
      request.verb = kVerbs[draw.below(4)];
      request.trial = text::cat("t0", draw.below(5));
      request.token = text::cat("token ", ++count);
      request.warm = request.verb == OperationVerb::clone;
      if (request.verb == OperationVerb::set || request.warm) request.changes = {{"train.optimizer.lr", 7e-3}};
      (experiment.steer(request, false).refusal.empty() ? taken : refused) += 1;
    };
    int starts = 0;
    while (run(workers, seed % 3 == 1 && starts < 2 ? 60 : -1) != ExperimentEnd::finished) ASSERT_LT(++starts, 10);
    for (const auto& record : journal_->trials()) {
      EXPECT_TRUE(record.state == TrialState::finished || record.state == TrialState::stopped)
          << record.spec.id << ": " << record.reason;
      if (record.state == TrialState::finished) {
        EXPECT_EQ(record.last->epoch * partitions_ + record.last->visit + 1, 2 * partitions_);
      }
      if (!record.last) continue;
      ASSERT_TRUE(workers.held(0).contains(record.spec.id)) << record.spec.id << '\n' << log_;
      const auto& states = workers.held(0).at(record.spec.id);
      const std::uint32_t visits = record.last->epoch * partitions_ + record.last->visit + 1;
      ASSERT_TRUE(states.contains(visits)) << record.spec.id << '\n' << log_;
      EXPECT_EQ(states.at(visits), record.last->digest);
      if (seed % 2 == 0) {
        EXPECT_EQ(states.size(), 1u) << "of who was dead when it was told, older ones may be there";
      }
    }
    if (seed % 2 == 0) {
      EXPECT_EQ(workers.missing, 0u) << log_;
    }
  }
  EXPECT_GT(taken, 40u);
  EXPECT_GT(refused, 5u);
}

/// Everything drawn by seed: the cluster, its faults, when the coordinator dies, and how many workers there are then.
class DrawnRuns : public HoppingTrainerTest {
 protected:
  std::uint32_t between(std::uint32_t least, std::uint32_t most) {
    return least + static_cast<std::uint32_t>(draw_->below(most - least + 1));
  }
  void draw_cluster(std::uint64_t seed) {
    draw_ = std::make_unique<KeyedStream>(derive(seed, "drawn runs"));
    journal_ = std::make_unique<MemoryJournal>();
    log_.clear();
    most_ = between(2, 5);
    partitions_ = between(most_, 2 * most_);
    replication_ = between(1, 2);
    team_.degree = replication_ == 2 ? between(1, 2) : 1;
    state_replicas_ = between(1, 3);
    kind_ = kVisitSchedulerKinds[between(0, 4)];
    faults_ = {};
    faults_.death = 0.02 * draw_->uniform();
    faults_.torn_hop = 0.2 * draw_->uniform();
    faults_.torn_team = 0.05 * draw_->uniform();
    faults_.patience = between(1, 60);
    faults_.departure = between(0, 1) * 0.01 * draw_->uniform();
    faults_.late = between(0, 1) * between(1, 100);
    faults_.straggler = between(0, 2) == 0;
    if (most_ > 2 && between(0, 2) == 0) {
      const std::uint32_t one = between(0, most_ - 2);
      faults_.cut = {{one, between(one + 1, most_ - 1)}};
    }
  }
  /// Each newest state is with one of the first so many.
  bool states_stay(const PaperWorkers& workers, std::uint32_t count) const {
    const auto records = journal_->trials();
    return std::all_of(records.begin(), records.end(), [&](const TrialRecord& record) {
      if (!record.last) return true;
      const std::uint32_t visits = record.last->epoch * partitions_ + record.last->visit + 1;
      for (std::uint32_t rank = 0; rank < count; ++rank) {
        const auto& held = workers.held(rank);
        const auto states = held.find(record.spec.id);
        if (states == held.end()) continue;
        const auto state = states->second.find(visits);
        if (state != states->second.end() && state->second == record.last->digest) return true;
      }
      return false;
    });
  }
  /// Until the end. Whoever starts it asks before whether the states stay, as runtime/worker_record.h does.
  void run_to_the_end(PaperWorkers& workers) {
    patience_s_ = 0.3;
    for (int starts = 0;; ++starts) {
      ASSERT_LT(starts, 20) << log_;
      const bool dies = starts < 4 && between(0, 1) == 0;
      workers_ = between(2, most_);
      if (starts == 0 || starts >= 4 || !states_stay(workers, workers_)) workers_ = most_;
      try {
        if (run(workers, dies ? static_cast<int>(between(5, 120)) : -1) == ExperimentEnd::finished) return;
      } catch (const Failure& nobody_came) {
        ASSERT_EQ(nobody_came.code(), ExitCode::interrupted) << nobody_came.what();
        ASSERT_LT(starts, 19) << nobody_came.what() << '\n' << log_;
      }
    }
  }

  std::unique_ptr<KeyedStream> draw_;
  std::uint32_t most_ = 0;
  PaperFaults faults_;
};

TEST_F(DrawnRuns, CommitEachVisitExactlyOnceWhateverHappens) {
  const std::uint64_t runs = fakes::drawn_runs(100);
  std::uint64_t deaths = 0, hops = 0;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    SCOPED_TRACE(seed);
    draw_cluster(seed);
    PaperWorkers workers(most_, partitions_, seed, faults_);
    run_to_the_end(workers);
    if (HasFatalFailure()) return;
    expect_exactly_once();
    if (kind_ == VisitSchedulerKind::seed) {
      EXPECT_EQ(digests(), undisturbed());
    }
    for (const auto& record : journal_->trials()) {
      const auto states = workers.held(0).find(record.spec.id);
      ASSERT_TRUE(states != workers.held(0).end() && states->second.contains(2 * partitions_)) << record.spec.id << '\n'
                                                                                               << log_;
      ASSERT_EQ(states->second.at(2 * partitions_), record.last->digest) << log_;
    }
    deaths += workers.deaths;
    hops += report_.hops;
  }
  EXPECT_GT(deaths, runs / 2);
  EXPECT_GT(hops, runs);
}

}  // namespace
}  // namespace hopyard
