// What people's operations mean and which of them may be, as values.
#include "experiment/steering.h"

#include <gmock/gmock.h>

#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using Verb = OperationVerb;
using testing::ElementsAre;
using testing::HasSubstr;

class SteeringTest : public testing::Test {
 protected:
  SteeringTest() {
    for (std::uint32_t i = 0; i < 2; ++i) {
      SteeredTrial trial;
      trial.spec = {text::cat("t0", i), i, 7 + i, {{"train.optimizer.lr", 1e-3}, {"model.freeze", std::int64_t{2}}}};
      trial.state = TrialState::active;
      trial.visits_per_epoch = 4;
      trial.epochs = 3;
      trial.visits_done = 5;
      view_.trials.push_back(trial);
    }
    view_.seed = 99;
  }

  OperationRequest request(Verb verb, const std::string& trial, std::vector<Setting> changes = {}) const {
    return {verb, trial, std::move(changes), false, "", "kim", 1000, text::cat("token ", view_.operations.size())};
  }
  std::string refusal(const OperationRequest& asked) const {
    return fakes::failure_of(ExitCode::usage, [&] { decide(view_, asked); });
  }
  /// As if it had been asked for and, unless `waits`, had taken effect.
  void took_effect(const OperationRequest& asked, bool waits = false) {
    Operation operation = decide(view_, asked).operation;
    if (!waits) operation.outcome = "";
    view_.operations.push_back(operation);
  }

  SteeringView view_;
};

TEST_F(SteeringTest, StopTakesEffectAtTheNextTaskAndKeepsWhatIsCommitted) {
  view_.trials[0].visit = SteeredTrial::Visit::training;
  const Decision decision = decide(view_, request(Verb::stop, "t00"));
  EXPECT_EQ(decision.operation.number, 1u);
  EXPECT_EQ(decision.operation.at_visits, 5u);
  EXPECT_THAT(decision.boundary, HasSubstr("next task"));
  view_.trials[0].visit = SteeredTrial::Visit::committing;
  EXPECT_EQ(decide(view_, request(Verb::stop, "t00")).operation.at_visits, 6u);
  view_.trials[0].visits_done = 11;
  EXPECT_THAT(refusal(request(Verb::stop, "t00")), HasSubstr("at its end"));
}

TEST_F(SteeringTest, ACloneOfAGroupsMemberSeesItsParentsRows) {
  view_.trials[0].spec.replicate = Replicate{"t00", 2, 1};
  OperationRequest asked = request(Verb::clone, "t00", {{"train.optimizer.lr", 1e-5}});
  TrialSpec clone = *decide(view_, asked).clone;
  EXPECT_EQ(clone.replicate, (Replicate{"c00", 2, 1})) << "a recipe of its own";
  EXPECT_EQ(clone.seed, replicate_seed(trial_seed(99, clone.settings), 2));
  view_.trials[0].visits_done = 4;
  asked.warm = true;
  clone = *decide(view_, asked).clone;
  EXPECT_EQ(clone.replicate, (Replicate{"c00", 2, 1}));
  EXPECT_EQ(clone.seed, 7u);
}

TEST_F(SteeringTest, TheSecondWhoStopsATrialIsToldWhoWasFirst) {
  took_effect(request(Verb::stop, "t00"), true);
  EXPECT_THAT(refusal(request(Verb::stop, "t00")), HasSubstr("is being stopped already, by kim at 1970"));
  view_.operations.back().outcome = "";
  view_.trials[0].state = TrialState::stopped;
  EXPECT_THAT(refusal(request(Verb::stop, "t00")), HasSubstr("t00 was stopped already, by kim at 1970"));
  EXPECT_THAT(refusal(request(Verb::set, "t00", {{"train.optimizer.lr", 1e-4}})), HasSubstr("stopped already"));
  EXPECT_EQ(decide(view_, request(Verb::resume, "t00")).operation.at_visits, 5u);
}

TEST_F(SteeringTest, OnlyAStoppedTrialIsResumed) {
  EXPECT_THAT(refusal(request(Verb::resume, "t00")), HasSubstr("is active, not stopped"));
  view_.trials[0].state = TrialState::failed;
  view_.trials[0].reason = "the loss is not finite";
  EXPECT_THAT(refusal(request(Verb::resume, "t00")), HasSubstr("only a stopped trial"));
  EXPECT_THAT(refusal(request(Verb::stop, "t00")), HasSubstr("failed, the loss is not finite"));
}

TEST_F(SteeringTest, UnknownAndMissingTrialsAreSentences) {
  EXPECT_THAT(refusal(request(Verb::clone, "t77", {{"train.optimizer.lr", 1e-4}})),
              HasSubstr("no trial 't77'; did you mean 't0"));
  for (const Verb verb : {Verb::stop, Verb::resume, Verb::clone, Verb::set})
    EXPECT_THAT(refusal(request(verb, "")), HasSubstr("--trial is missing")) << to_string(verb);
}

TEST_F(SteeringTest, SetTakesEffectWhereTheVisitEnds) {
  const std::vector<Setting> changes{{"train.optimizer.lr", 1e-4}, {"train.optimizer.weight_decay", 0.1}};
  Decision decision = decide(view_, request(Verb::set, "t00", changes));
  EXPECT_EQ(decision.operation.at_visits, 5u);
  EXPECT_THAT(decision.before, ElementsAre("0.001", ""));
  view_.trials[0].visit = SteeredTrial::Visit::training;
  decision = decide(view_, request(Verb::set, "t00", changes));
  EXPECT_EQ(decision.operation.at_visits, 6u);
  EXPECT_THAT(decision.boundary, HasSubstr("epoch 2, visit 2 of 4"));
  view_.trials[0].visits_done = 11;
  EXPECT_THAT(refusal(request(Verb::set, "t00", changes)), HasSubstr("last visit"));
}

TEST_F(SteeringTest, SetChangesOnlyWhatCanChangeInFlight) {
  EXPECT_THAT(refusal(request(Verb::set, "t00", {{"train.batch_size", std::int64_t{8}}})),
              testing::AllOf(HasSubstr("train.batch_size cannot change in flight"), HasSubstr("train.optimizer.lr")));
  EXPECT_THAT(refusal(request(Verb::set, "t00", {{"seed", std::int64_t{8}}})), HasSubstr("the experiment's"));
  EXPECT_THAT(refusal(request(Verb::set, "t00")), HasSubstr("--set is missing"));
  EXPECT_THAT(refusal(request(Verb::set, "t00", {{"train.optimizer.lr", 1e-3}})), HasSubstr("is 0.001 already"));
  EXPECT_THAT(refusal(request(Verb::set, "t00", {{"train.optimizer.lr", 1e-4}, {"train.optimizer.lr", 2e-4}})),
              HasSubstr("twice"));
  EXPECT_THAT(refusal(request(Verb::stop, "t00", {{"train.optimizer.lr", 1e-4}})), HasSubstr("changes no values"));
}

TEST_F(SteeringTest, SettingsInForceFollowFromTheBoundaries) {
  took_effect(request(Verb::set, "t00", {{"train.optimizer.lr", 1e-4}}));
  view_.trials[0].visits_done = 7;
  took_effect(request(Verb::set, "t00", {{"train.optimizer.lr", 1e-5}, {"model.dropout", 0.2}}));
  const TrialSpec& spec = view_.trials[0].spec;
  EXPECT_EQ(settings_after(spec, view_.operations, 4), spec.settings);
  EXPECT_EQ(settings_after(spec, view_.operations, 5)[0], (Setting{"train.optimizer.lr", 1e-4}));
  EXPECT_EQ(settings_after(spec, view_.operations, 7).size(), 3u);
  EXPECT_EQ(settings_after(spec, view_.operations, 7, 2), settings_after(spec, view_.operations, 5));
  EXPECT_EQ(settings_after(view_.trials[1].spec, view_.operations, 9), view_.trials[1].spec.settings);
  view_.operations.back().outcome = "t00 had ended before";
  EXPECT_EQ(settings_after(spec, view_.operations, 7).size(), 2u);
}

TEST_F(SteeringTest, AColdCloneIsItsParentPlusADifference) {
  took_effect(request(Verb::set, "t00", {{"train.optimizer.lr", 1e-4}}));
  const Decision decision = decide(view_, request(Verb::clone, "t00", {{"model.freeze", std::int64_t{0}}}));
  ASSERT_TRUE(decision.clone);
  EXPECT_EQ(decision.clone->id, "c00");
  EXPECT_EQ(decision.clone->index, kFirstCloneIndex);
  EXPECT_EQ(decision.clone->lineage, (Lineage{"t00", 0}));
  EXPECT_THAT(decision.clone->settings,
              ElementsAre(Setting{"train.optimizer.lr", 1e-4}, Setting{"model.freeze", std::int64_t{0}}));
  EXPECT_EQ(decision.clone->seed, trial_seed(99, decision.clone->settings));
  EXPECT_THAT(decision.before, ElementsAre("2"));
  EXPECT_THAT(refusal(request(Verb::clone, "t00", {{"model.freeze", std::int64_t{2}}})), HasSubstr("already"));
  EXPECT_THAT(refusal(request(Verb::clone, "t00")), HasSubstr("--set is missing"));
  view_.operations.push_back(decision.operation);
  EXPECT_EQ(decide(view_, request(Verb::clone, "t01", {{"model.freeze", std::int64_t{0}}})).clone->id, "c01");
}

TEST_F(SteeringTest, AMemberOfAGroupIsNotChangedByItself) {
  view_.trials[0].spec.replicate = Replicate{"t0", 2, 1};
  EXPECT_THAT(refusal(request(Verb::set, "t00", {{"train.optimizer.lr", 1e-5}})), HasSubstr("one of group t0,"));
  view_.trials[0].spec.replicate->group = "t00";  // of one
  EXPECT_EQ(decide(view_, request(Verb::set, "t00", {{"train.optimizer.lr", 1e-5}})).operation.at_visits, 5u);
}

TEST_F(SteeringTest, AWarmCloneBeginsAtAnEpochsEnd) {
  OperationRequest asked = request(Verb::clone, "t00", {{"train.optimizer.lr", 1e-5}});
  asked.warm = true;
  const auto lineage = [&] { return *decide(view_, asked).clone->lineage; };
  EXPECT_EQ(lineage(), (Lineage{"t00", 2})) << "in the middle of the second epoch";
  EXPECT_EQ(decide(view_, asked).clone->seed, 7u) << "its parent's";
  view_.trials[0].visits_done = 4;
  EXPECT_EQ(lineage(), (Lineage{"t00", 1}));
  view_.trials[0].visit = SteeredTrial::Visit::training;
  EXPECT_EQ(lineage(), (Lineage{"t00", 2})) << "the boundary has passed";
  view_.trials[0].visit = SteeredTrial::Visit::none;
  view_.trials[0].visits_done = 0;
  EXPECT_EQ(lineage(), (Lineage{"t00", 1}));
  view_.trials[0].state = TrialState::stopped;
  EXPECT_THAT(refusal(asked), HasSubstr("at the end of an epoch"));
  view_.trials[0].visits_done = 8;
  EXPECT_EQ(lineage(), (Lineage{"t00", 2}));
  asked.changes = {{"model.freeze", std::int64_t{0}}};
  EXPECT_THAT(refusal(asked), HasSubstr("takes over its bytes"));
}

TEST_F(SteeringTest, PausingTwiceIsRefusedAndSoIsContinuingWhatGoesOn) {
  EXPECT_THAT(refusal(request(Verb::go_on, "")), HasSubstr("is not paused"));
  took_effect(request(Verb::pause, ""));
  view_.paused = true;
  EXPECT_THAT(refusal(request(Verb::pause, "")), HasSubstr("is paused already, by kim"));
  EXPECT_EQ(decide(view_, request(Verb::go_on, "")).boundary, "at once");
  EXPECT_THAT(refusal(request(Verb::go_on, "t01")), HasSubstr("t01 is not paused"));
  view_.trials[1].visit = SteeredTrial::Visit::training;
  EXPECT_EQ(decide(view_, request(Verb::pause, "t01")).operation.at_visits, 6u);
}

TEST_F(SteeringTest, TheSearchSeesOfAResumedTrialWhatItWasToldLive) {
  std::vector<TrialRecord> records(2);
  for (std::size_t i = 0; i < 2; ++i) {
    records[i].spec = view_.trials[i].spec;
    records[i].state = TrialState::active;
    for (std::uint32_t epoch = 1; epoch <= 3; ++epoch) records[i].scores.push_back({records[i].spec.id, epoch});
  }
  TrialRecord clone;
  clone.spec.index = kFirstCloneIndex;
  records.push_back(clone);
  view_.trials[0].state = TrialState::stopped;
  took_effect(request(Verb::resume, "t00"));  // in the middle of its second epoch
  const auto seen = for_search(records, view_.operations, 4);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].scores.size(), 1u);
  EXPECT_EQ(seen[0].state, TrialState::stopped);
  EXPECT_EQ(seen[1].scores.size(), 3u);
  EXPECT_EQ(seen[1].state, TrialState::active);
}

}  // namespace
}  // namespace hopyard
