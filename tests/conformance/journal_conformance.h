// What every Journal must do. A test program includes this once and instantiates JournalConformance with the ways to
// make an empty journal:
//   INSTANTIATE_TEST_SUITE_P(Memory, JournalConformance, testing::Values([] { return std::make_unique<MemoryJournal>();
//   }));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <thread>

#include "base/journal.h"

namespace hopyard {

using JournalFactory = std::function<std::unique_ptr<Journal>()>;

class JournalConformance : public testing::TestWithParam<JournalFactory> {
 protected:
  void SetUp() override { journal_ = GetParam()(); }

  static TrialSpec spec(std::uint32_t index) {
    return {"t" + std::to_string(index), index, 0xfedcba9876543210ULL + index, {{"train.optimizer.lr", 1e-4}}};
  }
  static VisitCommit visit(const std::string& trial, std::uint32_t epoch, std::uint32_t visit) {
    VisitCommit commit;
    commit.trial = trial;
    commit.epoch = epoch;
    commit.visit = visit;
    commit.partition = 3 - visit;
    commit.steps = epoch * 40 + visit * 10 + 10;
    commit.loss_sum = 12.5 + visit;
    commit.loss_items = 320;
    commit.digest = "00112233445566778899aabbccddeeff";
    commit.state = {{0, 1}, {7, 0xffffffffffffffffULL}};
    commit.seconds = 0.1;
    commit.skipped_steps = 2 + visit;
    return commit;
  }
  static TrialScore score(const std::string& trial, std::uint32_t epoch, double metric) {
    return {trial, epoch, 1.5, 1.25, metric, "ffeeddccbbaa99887766554433221100"};
  }
  static void expect_equal(const VisitCommit& a, const VisitCommit& b) {
    EXPECT_EQ(std::tie(a.trial, a.epoch, a.visit, a.partition, a.steps, a.loss_sum, a.loss_items, a.digest, a.state),
              std::tie(b.trial, b.epoch, b.visit, b.partition, b.steps, b.loss_sum, b.loss_items, b.digest, b.state));
    EXPECT_EQ(a.score, b.score);
    EXPECT_EQ(a.seconds, b.seconds);
    EXPECT_EQ(a.skipped_steps, b.skipped_steps);
  }
  TrialRecord only() {
    const auto all = journal_->trials();
    EXPECT_EQ(all.size(), 1u);
    return all.at(0);
  }

  std::unique_ptr<Journal> journal_;
};

TEST_P(JournalConformance, StartsEmpty) {
  EXPECT_TRUE(journal_->trials().empty());
  EXPECT_EQ(journal_->fact("config"), std::nullopt);
}

TEST_P(JournalConformance, KeepsTrialsInTheirOrder) {
  for (const std::uint32_t index : {2u, 10u, 0u, 1u}) journal_->add_trial(spec(index));
  std::vector<std::uint32_t> order;
  for (const auto& record : journal_->trials()) order.push_back(record.spec.index);
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2, 10));
  EXPECT_EQ(journal_->trials().at(3).spec, spec(10));
  EXPECT_EQ(journal_->trials().at(3).state, TrialState::waiting);
}

TEST_P(JournalConformance, AScoreMayBeOfPartOfAnEpoch) {
  journal_->add_trial(spec(1));
  auto quarter = visit("t1", 0, 0), whole = visit("t1", 0, 3);
  quarter.score = score("t1", 0, 0.5);
  quarter.score->epoch = Epochs::of_visits(1, 4);
  whole.score = score("t1", 1, 0.6);
  journal_->commit(quarter, {});
  EXPECT_EQ(only().last->score, quarter.score);
  journal_->commit(whole, {});
  EXPECT_THAT(only().scores, testing::ElementsAre(*quarter.score, *whole.score));
  EXPECT_EQ(only().last->score, whole.score);
}

TEST_P(JournalConformance, AddingTheSameTrialAgainDoesNothing) {
  journal_->add_trial(spec(1));
  journal_->commit(visit("t1", 0, 0), {{1, 2.0}});
  journal_->add_trial(spec(1));
  EXPECT_TRUE(only().last.has_value());
  EXPECT_EQ(only().state, TrialState::active);
}

TEST_P(JournalConformance, ATrialThatFailedMayWaitAgain) {
  journal_->add_trial(spec(1));
  journal_->commit(visit("t1", 0, 0), {{1, 2.0}});
  journal_->end_trial("t1", TrialState::failed, "did not fit");
  journal_->end_trial("t1", TrialState::waiting, "");
  EXPECT_EQ(only().state, TrialState::waiting);
  EXPECT_EQ(only().reason, "");
  EXPECT_TRUE(only().last.has_value());
}

TEST_P(JournalConformance, AddingAnotherTrialUnderTheSameIdIsRefused) {
  journal_->add_trial(spec(1));
  TrialSpec other = spec(1);
  other.settings[0].value = 2e-4;
  EXPECT_THROW(journal_->add_trial(other), std::logic_error);
  EXPECT_EQ(only().spec, spec(1));
}

TEST_P(JournalConformance, SettingsKeepTypeAndBits) {
  const double third = std::nextafter(1.0 / 3.0, 1.0), tiny = std::numeric_limits<double>::denorm_min();
  TrialSpec odd{"t7", 7, std::numeric_limits<std::uint64_t>::max(), {}};
  for (const SettingValue& value : std::vector<SettingValue>{
           true, false, std::int64_t{4}, 4.0, third, tiny, -0.0, std::numeric_limits<double>::infinity(),
           std::numeric_limits<std::int64_t>::min(), std::string("4"), std::string("true"), std::string(""),
           std::string("it's \"ü\"\n; DROP TABLE trials"), std::string("a\0b", 3)})
    odd.settings.push_back({"path." + std::to_string(odd.settings.size()), value});
  journal_->add_trial(odd);
  const TrialSpec kept = only().spec;
  EXPECT_EQ(kept, odd);
  for (std::size_t i = 0; i < odd.settings.size(); ++i)
    EXPECT_EQ(kept.settings.at(i).value.index(), odd.settings[i].value.index()) << odd.settings[i].path;
  EXPECT_TRUE(std::signbit(std::get<double>(kept.settings.at(6).value)));
}

TEST_P(JournalConformance, ACommitIsKeptWhole) {
  journal_->add_trial(spec(1));
  VisitCommit commit = visit("t1", 0, 3);
  commit.loss_sum = 0.1 + 0.2;
  commit.score = score("t1", 1, 0.671);
  journal_->commit(commit, {{10, 2.75}, {20, 0.1}});
  const TrialRecord record = only();
  EXPECT_EQ(record.state, TrialState::active);
  ASSERT_TRUE(record.last);
  expect_equal(*record.last, commit);
  EXPECT_THAT(record.scores, testing::ElementsAre(*commit.score));
  EXPECT_THAT(record.curve, testing::ElementsAre(CurvePoint{10, 2.75}, CurvePoint{20, 0.1}));
}

TEST_P(JournalConformance, TheNewestCommitReplacesStateAndAddsToTheCurve) {
  journal_->add_trial(spec(1));
  VisitCommit first = visit("t1", 0, 9), second = visit("t1", 1, 0);
  first.score = score("t1", 1, 0.5);
  second.state = {{7, 12}, {2, 11}};
  journal_->commit(first, {{10, 3.0}});
  journal_->commit(second, {{20, 2.0}});
  const TrialRecord record = only();
  ASSERT_TRUE(record.last);
  expect_equal(*record.last, second);
  EXPECT_THAT(record.curve, testing::ElementsAre(CurvePoint{10, 3.0}, CurvePoint{20, 2.0}));
  EXPECT_THAT(record.scores, testing::ElementsAre(*first.score));
}

TEST_P(JournalConformance, NumbersThatAreNotFiniteSurvive) {
  journal_->add_trial(spec(1));
  VisitCommit commit = visit("t1", 0, 0);
  commit.loss_sum = std::numeric_limits<double>::quiet_NaN();
  commit.loss_items = -std::numeric_limits<double>::infinity();
  journal_->commit(commit, {{1, std::numeric_limits<double>::quiet_NaN()}});
  const TrialRecord record = only();
  EXPECT_TRUE(std::isnan(record.last->loss_sum));
  EXPECT_EQ(record.last->loss_items, commit.loss_items);
  EXPECT_TRUE(std::isnan(record.curve.at(0).loss));
}

TEST_P(JournalConformance, ABrokenCommitLeavesNothingBehind) {
  journal_->add_trial(spec(1));
  const VisitCommit good = visit("t1", 0, 1);
  journal_->commit(good, {{10, 3.0}});
  EXPECT_THROW(journal_->commit(visit("t1", 0, 1), {{20, 1.0}}), std::logic_error);
  EXPECT_THROW(journal_->commit(visit("t1", 0, 0), {{20, 1.0}}), std::logic_error);
  EXPECT_THROW(journal_->commit(visit("t1", 0, 2), {{20, 1.0}, {20, 1.0}}), std::logic_error);
  EXPECT_THROW(journal_->commit(visit("t2", 0, 0), {}), std::logic_error);
  VisitCommit foreign = visit("t1", 0, 2);
  foreign.score = score("t2", 1, 0.5);
  EXPECT_THROW(journal_->commit(foreign, {}), std::logic_error);
  const TrialRecord record = only();
  expect_equal(*record.last, good);
  EXPECT_EQ(record.curve.size(), 1u);
}

TEST_P(JournalConformance, TrialsEndWithAReason) {
  journal_->add_trial(spec(1));
  journal_->end_trial("t1", TrialState::failed, "the loss is not finite");
  EXPECT_EQ(only().state, TrialState::failed);
  EXPECT_EQ(only().reason, "the loss is not finite");
  EXPECT_THROW(journal_->end_trial("t2", TrialState::finished, ""), std::logic_error);
}

TEST_P(JournalConformance, FactsAreReplaced) {
  journal_->put_fact("config", "{\"a\":1}");
  journal_->put_fact("summary", "[]");
  journal_->put_fact("config", "{\"a\":2}");
  EXPECT_EQ(journal_->fact("config"), "{\"a\":2}");
  EXPECT_EQ(journal_->fact("summary"), "[]");
}

TEST_P(JournalConformance, AClonesLineageIsKept) {
  TrialSpec clone = spec(3);
  clone.lineage = Lineage{"t1", 4};
  journal_->add_trial(clone);
  journal_->add_trial(clone);
  EXPECT_EQ(only().spec, clone);
  EXPECT_THROW(journal_->add_trial(spec(3)), std::logic_error) << "the same without lineage is another trial";
}

TEST_P(JournalConformance, AReplicatesPlaceInItsGroupIsKept) {
  TrialSpec member = spec(3), resampled = spec(4), clone = spec(5), of_rows = spec(6);
  member.replicate = Replicate{"t1", 2, std::nullopt};
  resampled.replicate = Replicate{"t1", 0, 0};
  clone.lineage = Lineage{"t4", 1};
  clone.replicate = Replicate{"t2", 0, 7};
  of_rows.replicate = Replicate{"t1", 1, std::nullopt, -9'000'000'000};
  for (const auto& one : {spec(2), member, resampled, clone, of_rows}) {
    journal_->add_trial(one);
    journal_->add_trial(one);
    EXPECT_EQ(journal_->trials().back().spec, one);
  }
  EXPECT_THROW(journal_->add_trial(spec(3)), std::logic_error) << "the same outside of the group is another trial";
}

TEST_P(JournalConformance, DecisionsKeepTheirOrderAndWhatTheySaw) {
  EXPECT_TRUE(journal_->decisions().empty());
  const std::vector<SearchDecision> decisions{
      {{}, "t1", 1u, std::nullopt},
      {{}, "t0", std::nullopt, std::nullopt},
      {{{"t1", 1, 0.1 + 0.2, std::nullopt}, {"t0", 0, 0, TrialState::failed}}, "t1", 3u, std::nullopt},
      {{{"t1", 2, std::numeric_limits<double>::infinity(), std::nullopt}}, "t2", std::nullopt, "place 5 of 9"}};
  for (const auto& decision : decisions) journal_->add_decision(decision);
  EXPECT_EQ(journal_->decisions(), decisions);
}

TEST_P(JournalConformance, OperationsAreKeptWhole) {
  EXPECT_TRUE(journal_->operations().empty());
  Operation set;
  set.number = 1;
  set.time_s = 1.7e9 + 0.1;
  set.request = {OperationVerb::set,
                 "t1",
                 {{"train.optimizer.lr", 0.1 + 0.2}, {"train.schedule.type", "cosine"}},
                 false,
                 "it's \"ü\"\n",
                 "kim",
                 4'000'000'000u,
                 "token 1"};
  set.at_visits = 7;
  Operation clone = set;
  clone.number = 3;
  clone.request.verb = OperationVerb::clone;
  clone.request.warm = true;
  clone.request.token = "token 2";
  clone.clone = "c00";
  Operation refused{4, 2.5, {OperationVerb::go_on}, 0, "", "nothing is paused"};
  Operation ask = set;
  ask.number = 5;
  ask.request.verb = OperationVerb::ask;
  ask.request.trial = "";
  ask.request.token = "token 3";
  ask.request.epochs = 3;
  ask.clone = "t0000";
  for (const auto& operation : {set, clone, refused, ask}) journal_->add_operation(operation);
  EXPECT_EQ(journal_->operations(), (std::vector{set, clone, refused, ask}));
}

TEST_P(JournalConformance, OperationsAreSettledOnce) {
  const Operation one{2, 1, {OperationVerb::stop, "t1"}, 3, "", std::nullopt};
  journal_->add_operation(one);
  EXPECT_EQ(journal_->operations().at(0).outcome, std::nullopt);
  journal_->settle_operation(2, "");
  journal_->settle_operation(2, "too late");
  EXPECT_EQ(journal_->operations().at(0).outcome, "");
  EXPECT_THROW(journal_->settle_operation(1, ""), std::logic_error);
}

TEST_P(JournalConformance, AnOperationComesOnce) {
  Operation one{2, 1, {OperationVerb::stop, "t1"}, 3, "", std::nullopt};
  one.request.token = "a";
  journal_->add_operation(one);
  EXPECT_THROW(journal_->add_operation(one), std::logic_error);
  one.number = 3;
  EXPECT_THROW(journal_->add_operation(one), std::logic_error) << "the token is known";
  one.number = 1;
  one.request.token = "b";
  EXPECT_THROW(journal_->add_operation(one), std::logic_error) << "numbers rise";
  EXPECT_EQ(journal_->operations().size(), 1u);
}

TEST_P(JournalConformance, ThreadsDoNotLoseEachOthersCommits) {
  constexpr std::uint32_t kThreads = 4, kVisits = 10;
  std::vector<std::thread> threads;
  for (std::uint32_t index = 0; index < kThreads; ++index) journal_->add_trial(spec(index));
  for (std::uint32_t index = 0; index < kThreads; ++index)
    threads.emplace_back([&, index] {
      for (std::uint32_t i = 0; i < kVisits; ++i) journal_->commit(visit(spec(index).id, 0, i), {{i, 1.0}});
    });
  for (auto& thread : threads) thread.join();
  for (const auto& record : journal_->trials()) {
    EXPECT_EQ(record.curve.size(), kVisits);
    EXPECT_EQ(record.last->visit, kVisits - 1);
  }
}

}  // namespace hopyard
