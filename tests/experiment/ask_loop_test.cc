// Trials that are asked for from outside, in the loop: an ask is there when it is answered, and a crash between any two
// writes of the journal changes nothing of what comes of it.
#include <gmock/gmock.h>

#include "experiment/experiment_fixture.h"

namespace hopyard {
namespace {

using Verb = OperationVerb;
using testing::HasSubstr;

class AskLoopTest : public ExperimentTest {
 protected:
  void SetUp() override {
    ExperimentTest::SetUp();
    search_.method = SearchSpec::Method::external;
    space_ = {{"train.optimizer.lr", Dimension::Kind::loguniform, {}, 1e-4, 1e-2}};
    trial_.train.epochs = 3;
    trial_.visits = 6;
    requests_ = [this](Experiment& experiment) { ask_when_due(experiment); };
  }

  /// Asked for once the watched trial has so many visits behind it; an empty name: at once.
  struct Wish {
    OperationRequest request;
    std::string watched = {};
    std::uint32_t visits = 0;
  };

  static OperationRequest ask(double lr, std::uint32_t epochs) {
    return request(Verb::ask, "", {{"train.optimizer.lr", lr}}, epochs);
  }
  static OperationRequest further(const std::string& trial, std::uint32_t epochs) {
    return request(Verb::ask, trial, {}, epochs);
  }
  static OperationRequest finish() { return request(Verb::finish, "", {}, 0); }
  static OperationRequest request(Verb verb, const std::string& trial, std::vector<Setting> changes,
                                  std::uint32_t epochs) {
    static int count = 0;
    return {verb, trial, std::move(changes), false, "because", "kim", 1000, text::cat("token ", ++count), epochs};
  }

  /// In their order. What was taken is asked again and again: who asks twice with one token has asked once.
  void ask_when_due(Experiment& experiment) {
    for (const auto& wish : wishes_) {
      const auto all = experiment.status();
      const auto due = [&](const auto& trial) {
        return trial.spec.id == wish.watched && trial.visits_done >= wish.visits;
      };
      if (!wish.watched.empty() && std::none_of(all.begin(), all.end(), due)) return;
      const auto before = answers_.find(wish.request.token);
      if (before != answers_.end() && !before->second.refusal.empty()) continue;
      const OperationAnswer answer = experiment.steer(wish.request, false);
      answers_[wish.request.token] = answer;
      if (!answer.operation) continue;
      const std::string made = answer.operation->clone;
      const auto now = experiment.status();
      EXPECT_TRUE(made.empty() ||
                  std::any_of(now.begin(), now.end(), [&](const auto& trial) { return trial.spec.id == made; }))
          << made << " is there when it is answered";
    }
  }

  std::string refusal_of(const OperationRequest& request) { return answers_.at(request.token).refusal; }

  std::vector<std::string> outcomes() const {
    std::vector<std::string> all;
    for (const auto& record : journal_->trials())
      all.push_back(text::cat(record.spec.id, " ", to_string(record.spec.settings.front().value), " ",
                              to_string(record.state), " ", record.reason, " ",
                              record.scores.empty() ? 0 : record.scores.back().epoch, " ",
                              record.last ? record.last->digest : "-"));
    return all;
  }

  std::vector<Wish> wishes_;
  std::map<std::string, OperationAnswer> answers_;  // by token
};

TEST_F(AskLoopTest, TrainsWhatIsAskedForAsFarAsItIs) {
  wishes_ = {{ask(1e-3, 1)},
             {ask(3e-3, 0)},
             {further("t0000", 2), "t0000", 2},
             {ask(2e-3, 1), "t0000", 4},
             {finish(), "t0002", 2}};
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto records = journal_->trials();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].reason, "not asked for beyond epoch 2");
  EXPECT_EQ(records[0].scores.size(), 2u);
  EXPECT_EQ(records[1].state, TrialState::finished);
  EXPECT_EQ(records[2].reason, "not asked for beyond epoch 1");
  for (const auto& operation : journal_->operations()) EXPECT_EQ(operation.outcome, "");
  EXPECT_EQ(journal_->operations().front().clone, "t0000");
}

/// What is asked for trains to the bits of a grid's trial with the same values.
TEST_F(AskLoopTest, WhoChoseTheValuesDoesNotMatter) {
  wishes_ = {{ask(1e-3, 1)}, {ask(3e-3, 0)}, {further("t0000", 0), "t0000", 2}, {finish(), "t0000", 2}};
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const Digests asked = digests();
  forget();
  search_.method = SearchSpec::Method::grid;
  space_ = {{"train.optimizer.lr", Dimension::Kind::grid, {1e-3, 3e-3}}};
  requests_ = {};
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(asked.at("t0000"), digests().at("t00"));
  EXPECT_EQ(asked.at("t0001"), digests().at("t01"));
}

TEST_F(AskLoopTest, DeathsBetweenWritesChangeNothing) {
  wishes_ = {{ask(1e-3, 1)},
             {ask(3e-3, 1)},
             {further("t0000", 2), "t0000", 2},
             {ask(2e-3, 0), "t0001", 2},
             {further("t0001", 0), "t0000", 4},
             {finish(), "t0001", 4}};
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto undisturbed = outcomes();
  ASSERT_EQ(undisturbed.size(), 3u);
  for (const int step : {1, 2, 5}) {
    forget();
    EXPECT_GT(run_with_deaths(step), 4) << step;
    EXPECT_EQ(outcomes(), undisturbed) << step;
  }
}

TEST_F(AskLoopTest, AnInterruptedRunWaitsOnForWhoeverAsks) {
  requests_ = [this](Experiment&) { interrupted_ = true; };
  EXPECT_EQ(run(GiB), ExperimentEnd::interrupted);
  interrupted_ = false;
  requests_ = [this](Experiment& experiment) { ask_when_due(experiment); };
  wishes_ = {{ask(1e-3, 1)}, {finish(), "t0000", 2}};
  EXPECT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(outcomes().size(), 1u);
}

TEST_F(AskLoopTest, RefusesWithASentenceAndGoesOn) {
  const auto too_far = ask(1e-3, 4), outside = ask(0.5, 1), again = further("t0000", 1), beyond = further("t0000", 9),
             stranger = further("t0007", 2), late = ask(1e-3, 1);
  auto with_values = further("t0000", 2);
  with_values.changes = {{"train.optimizer.lr", 1e-3}};
  wishes_ = {{too_far}, {outside}, {stranger}, {ask(1e-3, 1)}, {again}, {beyond}, {with_values}, {finish(), "t0000", 2},
             {late}};
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_THAT(refusal_of(too_far), HasSubstr("--epochs: 4 are more than the 3 of t0000"));
  EXPECT_THAT(refusal_of(outside), HasSubstr("is not a number from"));
  EXPECT_THAT(refusal_of(stranger), HasSubstr("no trial 't0007' was asked for"));
  EXPECT_THAT(refusal_of(again), HasSubstr("t0000 was asked for to epoch 1 already"));
  EXPECT_THAT(refusal_of(beyond), HasSubstr("--epochs: 9 are more than the 3 of t0000"));
  EXPECT_THAT(refusal_of(with_values), HasSubstr("t0000 has its values"));
  EXPECT_THAT(refusal_of(late), HasSubstr("finished by kim at"));
  EXPECT_EQ(journal_->operations().size(), 2u) << "what is refused to somebody who hears it leaves no trace";
  EXPECT_EQ(outcomes().size(), 1u);
}

TEST_F(AskLoopTest, ATrialForWhichThereIsNoRoomIsRefused) {
  const auto first = ask(1e-3, 1), second = ask(3e-3, 1);
  wishes_ = {{first}, {second}, {finish(), "t0000", 2}};
  ASSERT_EQ(run(3 * state_bytes() - 1), ExperimentEnd::finished);
  EXPECT_EQ(refusal_of(first), "");
  EXPECT_THAT(refusal_of(second), HasSubstr("resources.disk.capacity: another trial needs"));
  EXPECT_EQ(answers_.at(second.token).refusal_code, ExitCode::capacity);
}

TEST_F(AskLoopTest, OtherSearchesTakeNoRequests) {
  search_.method = SearchSpec::Method::random;
  search_.trials = 1;
  const auto one = ask(1e-3, 1), end = finish();
  wishes_ = {{one}, {end}};
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_THAT(refusal_of(one), HasSubstr("this run chooses its trials itself"));
  EXPECT_THAT(refusal_of(end), HasSubstr("this run chooses its trials itself"));
}

}  // namespace
}  // namespace hopyard
