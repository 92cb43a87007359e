// People's operations in the loop: what they do, that they are exact, and that a crash between any two writes of the
// journal changes nothing of it.
#include <gmock/gmock.h>

#include "base/clock.h"
#include "experiment/experiment_fixture.h"

namespace hopyard {
namespace {

using Verb = OperationVerb;
using testing::HasSubstr;

constexpr double kFirstRate = 1e-3, kSecondRate = 3e-3, kOtherRate = 5e-4;
const std::vector<Setting> kOther{{"train.optimizer.lr", kOtherRate}};

/// Two trials of 3 epochs of 2 visits each.
class SteerLoopTest : public ExperimentTest {
 protected:
  void SetUp() override {
    ExperimentTest::SetUp();
    trial_.train.epochs = 3;
    trial_.visits = 6;
    requests_ = [this](Experiment& experiment) { ask_when_due(experiment); };
  }

  struct Wish {
    std::function<bool(const TrialStatus&)> due;  ///< of the trial `watched`
    OperationRequest request;
    std::string watched;
  };

  static OperationRequest request(Verb verb, const std::string& trial, std::vector<Setting> changes = {},
                                  bool warm = false) {
    static int count = 0;
    return {verb, trial, std::move(changes), warm, "because", "kim", 1000, text::cat("token ", ++count)};
  }
  void wish(OperationRequest request, std::function<bool(const TrialStatus&)> due) {
    const std::string watched = request.trial.empty() ? "t00" : request.trial;
    wishes_.push_back({std::move(due), std::move(request), watched});
  }
  static std::function<bool(const TrialStatus&)> after(std::uint32_t visits) {
    return [visits](const TrialStatus& trial) { return trial.visits_done >= visits; };
  }
  /// While that visit trains; where it is over before anybody looks, before the next.
  static std::function<bool(const TrialStatus&)> within(std::uint32_t visits) {
    return [visits](const TrialStatus& trial) {
      return trial.visits_done > visits || (trial.visits_done == visits && trial.visit_fraction > 0);
    };
  }
  static bool is_stopped(const TrialStatus& trial) { return trial.state == TrialState::stopped; }

  void ask_when_due(Experiment& experiment) {
    while (!wishes_.empty()) {
      const auto all = experiment.status();
      const auto due = [&](const auto& trial) {
        return trial.spec.id == wishes_.front().watched && wishes_.front().due(trial);
      };
      if (std::none_of(all.begin(), all.end(), due)) return;
      answers_.push_back(experiment.steer(wishes_.front().request, false));
      wishes_.pop_front();
    }
  }

  std::map<std::string, TrialRecord> records() const {
    std::map<std::string, TrialRecord> all;
    for (const auto& record : journal_->trials()) all[record.spec.id] = record;
    return all;
  }
  std::string digest(const std::string& trial) const { return records().at(trial).last->digest; }

  Digests undisturbed() {
    const auto requests = std::exchange(requests_, nullptr);
    forget();
    EXPECT_EQ(run(GiB), ExperimentEnd::finished);
    const Digests all = digests();
    forget();
    requests_ = requests;
    return all;
  }

  /// What became of each trial.
  std::vector<std::string> outcomes() const {
    std::vector<std::string> all;
    for (const auto& [id, record] : records())
      all.push_back(text::cat(id, " ", to_string(record.state), " ", record.reason, " ",
                              record.scores.empty() ? 0 : record.scores.back().epoch, " ",
                              record.last ? record.last->digest : "-"));
    return all;
  }

  /// A journal in which nothing has happened yet and these operations wait for their boundaries.
  void begin_with(std::vector<Operation> operations) {
    forget();
    wishes_.clear();
    for (auto& operation : operations) {
      operation.outcome.reset();
      journal_->add_operation(operation);
    }
  }

  std::deque<Wish> wishes_;
  std::vector<OperationAnswer> answers_;
};

TEST_F(SteerLoopTest, AStoppedTrialKeepsWhatIsCommittedAndTheOthersGoOn) {
  const Digests whole = undisturbed();
  wish(request(Verb::stop, "t00"), within(3));
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const TrialRecord stopped = records().at("t00");
  EXPECT_EQ(stopped.state, TrialState::stopped);
  EXPECT_EQ(stopped.reason, "by kim: because");
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_EQ(stopped.last->epoch * 2 + stopped.last->visit + 1, answers_[0].operation->at_visits);
  EXPECT_EQ(digest("t01"), whole.at("t01"));
  EXPECT_EQ(journal_->operations().at(0).outcome, "");
  EXPECT_EQ(journal_->operations().at(0).at_visits, answers_[0].operation->at_visits);
}

/// A link so slow that a visit lasts: the stop finds it in its middle.
TEST_F(SteerLoopTest, AStopDropsTheVisitUnderWayAtItsNextTask) {
  device_memory_ = MiB;
  link_bytes_per_s_ = 2e6;
  double asked_s = 0, stopped_s = 0, visit_s = 0;
  requests_ = [&](Experiment& experiment) {
    ask_when_due(experiment);
    if (!answers_.empty() && asked_s == 0) asked_s = monotonic_seconds();
    if (asked_s > 0 && stopped_s == 0 && is_stopped(experiment.status().at(0))) stopped_s = monotonic_seconds();
    interrupted_ = stopped_s > 0;
  };
  wish(request(Verb::stop, "t00"), within(0));
  const double begin = monotonic_seconds();
  ASSERT_EQ(run(GiB), ExperimentEnd::interrupted);
  visit_s = monotonic_seconds() - begin;
  ASSERT_EQ(answers_.size(), 1u);
  EXPECT_THAT(answers_[0].boundary, HasSubstr("next task"));
  EXPECT_EQ(records().at("t00").state, TrialState::stopped);
  EXPECT_FALSE(records().at("t00").last) << "dropped";
  RecordProperty("stop_ms", static_cast<int>((stopped_s - asked_s) * 1000));
  RecordProperty("run_ms", static_cast<int>(visit_s * 1000));
}

TEST_F(SteerLoopTest, AResumedTrialEndsAsIfItHadNeverStopped) {
  const Digests whole = undisturbed();
  wish(request(Verb::stop, "t00"), within(1));
  wish(request(Verb::resume, "t00"), is_stopped);
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(digests(), whole);
  EXPECT_EQ(journal_->operations().size(), 2u);
}

TEST_F(SteerLoopTest, SetChangesTheRateFromItsBoundaryOn) {
  const Digests whole = undisturbed();
  wish(request(Verb::set, "t00", kOther), within(2));
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  ASSERT_EQ(journal_->operations().at(0).at_visits, 3u);
  const std::string steered = digest("t00");
  EXPECT_NE(steered, whole.at("t00"));
  EXPECT_EQ(digest("t01"), whole.at("t01"));

  // The oracle: a run that died after 3 visits and whose config then had the other rate.
  forget();
  space_ = {{"train.optimizer.lr", Dimension::Kind::grid, {kFirstRate}}};
  requests_ = nullptr;
  DyingJournal dying(*journal_, 3, true);  // the trial, and three commits
  EXPECT_THROW(run(GiB, &dying), DyingJournal::Death);
  ASSERT_EQ(records().at("t00").last->epoch * 2 + records().at("t00").last->visit + 1, 3u);
  rate_ = kOtherRate;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(digest("t00"), steered);
}

TEST_F(SteerLoopTest, AWarmCloneTrainsAsItsParentWouldWithTheSameValues) {
  begin_with({{1, 0, request(Verb::set, "t00", kOther), 2, "", {}}});
  requests_ = nullptr;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const std::string expected = digest("t00");
  const Digests whole = undisturbed();
  requests_ = [this](Experiment& experiment) { ask_when_due(experiment); };
  wish(request(Verb::clone, "t00", kOther, true), within(1));
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const TrialRecord clone = records().at("c00");
  EXPECT_EQ(clone.spec.lineage, (Lineage{"t00", 1}));
  EXPECT_EQ(clone.last->digest, expected);
  EXPECT_EQ(clone.scores.size(), 2u);
  for (const char* id : {"t00", "t01"}) EXPECT_EQ(digest(id), whole.at(id)) << "its parent goes on as it would";
}

TEST_F(SteerLoopTest, AColdCloneIsTheTrialThatTheSearchWouldHaveMade) {
  const Digests whole = undisturbed();
  wish(request(Verb::clone, "t00", {{"train.optimizer.lr", kSecondRate}}), after(1));
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(digest("c00"), whole.at("t01"));
  EXPECT_EQ(records().at("c00").spec.lineage, (Lineage{"t00", 0}));
  EXPECT_EQ(records().at("c00").scores.size(), 3u);
}

TEST_F(SteerLoopTest, APausedExperimentStartsNothingAndGoesOnExactly) {
  const Digests whole = undisturbed();
  int rounds = 0;
  std::uint32_t visits = 0;
  requests_ = [&](Experiment& experiment) {
    std::uint32_t done = 0;
    for (const auto& trial : experiment.status()) done += trial.visits_done;
    if (rounds == 0 && done >= 2) {
      ASSERT_EQ(experiment.steer(request(Verb::pause, ""), false).refusal, "");
      rounds = 1;
    } else if (rounds > 0 && ++rounds == 8) {
      visits = done;
    } else if (rounds == 16) {
      EXPECT_EQ(done, visits) << "visits under way ended long ago";
      for (const auto& trial : experiment.status()) EXPECT_EQ(trial.state, TrialState::waiting);
      EXPECT_TRUE(experiment.paused());
      ASSERT_EQ(experiment.steer(request(Verb::go_on, ""), false).refusal, "");
    }
  };
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_GE(rounds, 16);
  EXPECT_LT(visits, 12u);
  EXPECT_EQ(digests(), whole);
}

TEST_F(SteerLoopTest, APauseOfATrialOutlivesTheProcess) {
  const Digests whole = undisturbed();
  wish(request(Verb::pause, "t00"), after(1));
  requests_ = [this](Experiment& experiment) {
    ask_when_due(experiment);
    const auto all = experiment.status();
    interrupted_ = all.at(1).state == TrialState::finished && all.at(0).state == TrialState::waiting;
  };
  ASSERT_EQ(run(GiB), ExperimentEnd::interrupted);
  EXPECT_LT(records().at("t00").scores.size(), 3u);
  int rounds = 0;
  requests_ = [&](Experiment& experiment) {
    interrupted_ = false;
    if (++rounds < 5) return;
    EXPECT_TRUE(rounds > 5 || experiment.status().at(0).held);
    if (rounds == 5) {
      EXPECT_EQ(experiment.steer(request(Verb::go_on, "t00"), false).refusal, "");
    }
  };
  interrupted_ = false;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(digests(), whole);
}

TEST_F(SteerLoopTest, RefusalsChangeNothingAndAreJournaledWhenNobodyWaitsForThem) {
  const Digests whole = undisturbed();
  bool asked = false;
  requests_ = [&](Experiment& experiment) {
    if (std::exchange(asked, true)) return;
    EXPECT_THAT(experiment.steer(request(Verb::stop, "t09"), false).refusal, HasSubstr("no trial 't09'"));
    unfit_ = {"c00"};
    EXPECT_THAT(experiment.steer(request(Verb::clone, "t00", kOther), false).refusal, HasSubstr("does not fit"));
    EXPECT_TRUE(experiment.operations().empty());
    OperationRequest queued = request(Verb::stop, "t09");
    EXPECT_TRUE(experiment.steer(queued, true).operation->refused());
    EXPECT_TRUE(experiment.steer(queued, true).operation->refused()) << "asked again after a crash";
  };
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(digests(), whole);
  ASSERT_EQ(journal_->operations().size(), 1u);
  EXPECT_THAT(*journal_->operations()[0].outcome, HasSubstr("no trial"));
}

/// They are never committed, so that they are on disk only where the window does not hold everything.
TEST_F(SteerLoopTest, BfloatCopiesTakeNoDiskOfAClone) {
  device_memory_ = MiB;
  trial_.train.precision = Precision::bf16;
  for (const double window_share : {1.0, 0.5}) {
    setup_.window_share = window_share;
    const Bytes committed = committed_bytes(fakes::trial_setup(world_, trial_, 0, setup_));
    ASSERT_LT(committed, state_bytes());
    std::string refusal;
    requests_ = [&](Experiment& experiment) {
      if (interrupted_.exchange(true)) return;
      refusal = experiment.steer(request(Verb::clone, "t00", kOther), false).refusal;
    };
    forget();
    interrupted_ = false;
    ASSERT_EQ(run(4 * committed), ExperimentEnd::interrupted);  // two trials, a third one and its commit
    if (window_share == 1)
      EXPECT_EQ(refusal, "");
    else
      EXPECT_THAT(refusal, HasSubstr("resources.disk.capacity: a clone needs"));
  }
}

TEST_F(SteerLoopTest, OneTokenIsOneOperation) {
  const OperationRequest stop = request(Verb::stop, "t00");
  bool asked = false;
  requests_ = [&](Experiment& experiment) {
    if (std::exchange(asked, true)) return;
    for (int i = 0; i < 2; ++i) EXPECT_EQ(experiment.steer(stop, true).operation->number, 1u);
  };
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(journal_->operations().size(), 1u);
}

TEST_F(SteerLoopTest, AWarmCloneOfATrialThatStopsFirstEndsWithAReason) {
  wish(request(Verb::clone, "t00", kOther, true), within(0));
  wish(request(Verb::stop, "t00"), after(0));  // its first epoch has another visit
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(records().at("c00").state, TrialState::stopped);
  EXPECT_THAT(records().at("c00").reason, HasSubstr("its parent t00 ended before epoch 1"));
}

/// The same operations at the same boundaries, whatever dies in between.
TEST_F(SteerLoopTest, OperationsSurviveDeathAtEveryWrite) {
  wish(request(Verb::set, "t00", kOther), within(1));
  wish(request(Verb::clone, "t00", {{"train.optimizer.lr", kSecondRate}}, true), after(2));
  wish(request(Verb::stop, "t01"), within(2));
  wish(request(Verb::resume, "t01"), is_stopped);
  wish(request(Verb::stop, "t01"), within(4));
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto live = outcomes();
  const auto operations = journal_->operations();
  ASSERT_EQ(operations.size(), 5u);
  requests_ = nullptr;
  begin_with(operations);
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(outcomes(), live) << "replayed";
  EXPECT_EQ(journal_->operations(), operations);
  for (const int step : {0, 5, 17}) {
    begin_with(operations);
    EXPECT_GE(run_with_deaths(step), 1);
    EXPECT_EQ(outcomes(), live) << step;
    EXPECT_EQ(journal_->operations(), operations) << step;
  }
}

/// A search that reacts hears of people's doings in an order of its own, and is led the same way again.
TEST_F(SteerLoopTest, ASearchThatReactsIsNotLedAstray) {
  for (const auto method : {SearchSpec::Method::asha, SearchSpec::Method::pbt, SearchSpec::Method::tpe}) {
    forget();
    search_.method = method;
    search_.metric = "valid/loss";
    search_.maximize = false;
    search_.trials = 5;
    search_.eta = 2;
    search_.max_epochs = trial_.train.epochs = 3;
    search_.deterministic = true;
    search_.max_concurrent_trials = 2;
    space_ = {{"train.optimizer.lr", Dimension::Kind::loguniform, {}, 1e-4, 1e-2}};
    answers_.clear();
    wish(request(Verb::clone, "t00", kOther), after(1));
    wish(request(Verb::stop, "t01"), after(1));
    wish(request(Verb::resume, "t01"), is_stopped);
    int deaths = 0;
    for (;; ++deaths) {
      ASSERT_LT(deaths, 1000);
      DyingJournal dying(*journal_, 11 + deaths % 5, deaths % 2 == 0);
      try {
        ASSERT_EQ(run(GiB, &dying), ExperimentEnd::finished);
        break;
      } catch (const DyingJournal::Death&) {
      }
    }
    EXPECT_GT(deaths, 1);
    const auto all = records();
    for (const auto& [id, record] : all) {
      EXPECT_GT(record.state, TrialState::active) << id;
      EXPECT_EQ(record.state == TrialState::stopped, !record.reason.empty()) << id;
    }
    EXPECT_EQ(all.at("c00").state, TrialState::finished) << all.at("c00").reason;
    EXPECT_EQ(all.at("t01").state, TrialState::finished) << all.at("t01").reason;
    for (const auto& decision : journal_->decisions()) EXPECT_NE(decision.trial, "c00");
  }
}

}  // namespace
}  // namespace hopyard
