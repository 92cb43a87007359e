// Searches that react to scores, in the loop: pauses, promotions, warm clones, and what a crash leaves of them.
#include <gmock/gmock.h>

#include "experiment/experiment_fixture.h"

namespace hopyard {
namespace {

using Method = SearchSpec::Method;
using testing::HasSubstr;

const Epochs kHalf = Epochs::of_visits(1, 2);  // one visit of two

class SearchLoopTest : public ExperimentTest {
 protected:
  void SetUp() override {
    ExperimentTest::SetUp();
    search_.metric = "valid/loss";
    search_.maximize = false;
  }

  void use(Method method, std::uint32_t trials, std::uint32_t epochs) {
    search_.method = method;
    search_.trials = trials;
    search_.max_epochs = trial_.train.epochs = epochs;
    trial_.visits = 2 * epochs;
    space_ = {{"train.optimizer.lr", Dimension::Kind::loguniform, {}, 1e-4, 1e-2}};
  }

  /// What became of each trial.
  std::vector<std::string> outcomes() const {
    std::vector<std::string> all;
    for (const auto& record : journal_->trials())
      all.push_back(text::cat(record.spec.id, record.spec.lineage ? " of " + record.spec.lineage->parent : "", " ",
                              to_string(record.state), " ", record.scores.empty() ? 0 : record.scores.back().epoch, " ",
                              record.reason, " ", record.last ? record.last->digest : "-"));
    return all;
  }

  std::map<Epochs, int> trials_by_epochs() const {
    std::map<Epochs, int> count;
    for (const auto& record : journal_->trials()) ++count[record.scores.empty() ? 0 : record.scores.back().epoch];
    return count;
  }
};

TEST_F(SearchLoopTest, SuccessiveHalvingPausesPromotesAndStops) {
  use(Method::successive_halving, 9, 4);
  search_.eta = 2;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(trials_by_epochs(), (std::map<Epochs, int>{{1, 5}, {2, 2}, {4, 2}}));
  for (const auto& record : journal_->trials()) {
    const bool whole = record.scores.back().epoch == 4;
    EXPECT_EQ(record.state, whole ? TrialState::finished : TrialState::stopped);
    EXPECT_THAT(record.reason, HasSubstr(whole ? "" : "not promoted beyond epoch"));
    EXPECT_EQ(record.last->epoch + 1, record.scores.back().epoch) << "no visit more than asked for";
  }
}

/// Pausing, promoting and the company of others change no bit of what a trial becomes.
TEST_F(SearchLoopTest, APromotedTrialIsTheOneTrainedWithoutPause) {
  use(Method::asha, 9, 4);
  search_.eta = 2;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto asha = journal_->trials();
  forget();
  search_.method = Method::random;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto random = journal_->trials();
  ASSERT_EQ(asha.size(), random.size());
  int whole = 0;
  for (std::size_t i = 0; i < asha.size(); ++i) {
    EXPECT_EQ(asha[i].spec, random[i].spec);
    for (std::size_t e = 0; e < asha[i].scores.size(); ++e) EXPECT_EQ(asha[i].scores[e], random[i].scores[e]);
    whole += asha[i].state == TrialState::finished;
  }
  EXPECT_GE(whole, 1);
  EXPECT_LT(whole, 9);
}

/// The same where it pauses within an epoch: digests, the losses of whole epochs, and the scores of these.
TEST_F(SearchLoopTest, ATrialJudgedWithinAnEpochIsTheOneThatWasNot) {
  use(Method::successive_halving, 8, 2);
  search_.eta = 2;
  search_.min_epochs = kHalf;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(trials_by_epochs(), (std::map<Epochs, int>{{kHalf, 4}, {1, 2}, {2, 2}}));
  const auto halving = journal_->trials();
  forget();
  search_.method = Method::random;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto random = journal_->trials();
  int within = 0, compared = 0;
  for (std::size_t i = 0; i < halving.size(); ++i) {
    EXPECT_EQ(halving[i].spec, random[i].spec);
    for (const auto& score : halving[i].scores) {
      within += score.epoch == kHalf;
      for (const auto& other : random[i].scores) {
        if (other.epoch != score.epoch) continue;
        EXPECT_EQ(score, other);
        ++compared;
      }
    }
    const bool whole = halving[i].state == TrialState::finished;
    EXPECT_EQ(halving[i].last->digest == random[i].last->digest, whole) << i;
    EXPECT_THAT(halving[i].reason, HasSubstr(whole ? "" : "not promoted beyond epoch"));
  }
  EXPECT_EQ(within, 8);
  EXPECT_EQ(compared, 4 + 2);
}

/// A kill at any write of the sub-epochs before and after a rung: the same trials, the same scores.
TEST_F(SearchLoopTest, ARungWithinAnEpochSurvivesDeathAtEveryWrite) {
  use(Method::successive_halving, 4, 1);
  search_.eta = 2;
  search_.min_epochs = kHalf;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto undisturbed = journal_->trials();
  forget();
  EXPECT_GT(run_with_deaths(0), 8);
  const auto records = journal_->trials();
  ASSERT_EQ(records.size(), undisturbed.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].scores, undisturbed[i].scores) << i;
    EXPECT_EQ(records[i].state, undisturbed[i].state) << i;
    EXPECT_EQ(records[i].last->digest, undisturbed[i].last->digest) << i;
  }
}

TEST_F(SearchLoopTest, EveryOrderIsJournaledWithTheScoresItSaw) {
  use(Method::asha, 4, 2);
  search_.eta = 2;
  orders_max_ = 1;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  std::map<std::string, double> seen;
  for (const auto& decision : journal_->decisions()) {
    for (const auto& news : decision.news)
      if (!news.end && news.epoch == 1) seen[news.trial] = news.metric;
    if (decision.until_epoch == 2u) {
      EXPECT_EQ(seen.count(decision.trial), 1u);
      for (const auto& record : journal_->trials()) {
        const bool same = record.spec.id == decision.trial;
        EXPECT_TRUE(!same || seen[decision.trial] == record.scores[0].metric) << decision.trial;
      }
    }
  }
  EXPECT_EQ(seen.size(), 4u);
}

TEST_F(SearchLoopTest, AWarmCloneGoesOnWhereItsParentWas) {
  use(Method::pbt, 4, 3);
  space_.front().changes_in_flight = false;  // so that a clone does as its parent would
  search_.quantile_fraction = 0.5;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  std::map<std::string, TrialRecord> by_id;
  for (const auto& record : journal_->trials()) by_id[record.spec.id] = record;
  int clones = 0, compared = 0;
  for (const auto& [id, record] : by_id) {
    EXPECT_EQ(record.state, record.scores.back().epoch == 3 ? TrialState::finished : TrialState::stopped);
    if (!record.spec.lineage) continue;
    ++clones;
    EXPECT_EQ(record.scores.front().epoch, record.spec.lineage->epochs + 1);
    for (const auto& score : record.scores)
      for (const auto& parents : by_id[record.spec.lineage->parent].scores) {
        if (parents.epoch != score.epoch) continue;
        ++compared;
        EXPECT_EQ(parents.digest, score.digest) << id << " epoch " << score.epoch;
      }
  }
  EXPECT_EQ(clones, 4);
  EXPECT_GE(compared, 2);
  EXPECT_EQ(run(GiB), ExperimentEnd::finished) << "every version that the journal names is still there";
}

TEST_F(SearchLoopTest, ADivergedTrialIsToldAndTheOthersGoOn) {
  use(Method::asha, 8, 2);
  search_.eta = 2;
  space_ = {{"train.optimizer.lr", Dimension::Kind::choice, {1e-3, 1e30}}};
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  std::map<TrialState, int> states;
  for (const auto& record : journal_->trials()) ++states[record.state];
  EXPECT_GE(states[TrialState::failed], 1);
  EXPECT_GE(states[TrialState::finished], 1);
  EXPECT_EQ(states[TrialState::failed] + states[TrialState::finished] + states[TrialState::stopped], 8);
  EXPECT_FALSE(has_work(*journal_, "others"));
}

/// search.deterministic: the whole experiment is a function of config and seed.
class DeterministicSearchTest : public SearchLoopTest, public testing::WithParamInterface<Method> {
 protected:
  void SetUp() override {
    SearchLoopTest::SetUp();
    use(GetParam(), GetParam() == Method::hyperband ? 0 : GetParam() == Method::pbt ? 4 : 6, 4);
    if (GetParam() == Method::asha) search_.min_epochs = kHalf;
    search_.eta = 2;
    search_.deterministic = true;
    search_.max_concurrent_trials = 3;
  }
};

TEST_P(DeterministicSearchTest, SurvivesDeathAtEveryWrite) {
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto undisturbed = outcomes();
  const auto decided = journal_->decisions();
  for (const int step : {0, 6, 20}) {
    forget();
    EXPECT_GT(run_with_deaths(step), 1);
    EXPECT_EQ(outcomes(), undisturbed) << step;
    EXPECT_EQ(journal_->decisions().size(), decided.size());
  }
}

TEST_P(DeterministicSearchTest, DoesNotDependOnHowManyTrialsInterleave) {
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const auto undisturbed = outcomes();
  for (const std::uint32_t orders : {1u, 9u}) {
    forget();
    orders_max_ = orders;
    active_trials_ = 1 + orders % 3;
    EXPECT_EQ(run(GiB), ExperimentEnd::finished);
    EXPECT_EQ(outcomes(), undisturbed) << orders;
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, DeterministicSearchTest,
                         testing::Values(Method::asha, Method::pbt, Method::hyperband, Method::tpe));

/// Without it scores are heard as they arrive; what was decided before a crash stays decided.
TEST_F(SearchLoopTest, DecisionsBeforeACrashStayDecided) {
  for (const Method method : {Method::asha, Method::pbt, Method::tpe}) {
    forget();
    use(method, 5, 2);
    search_.eta = 2;
    std::vector<SearchDecision> before;
    for (int deaths = 0;; ++deaths) {
      ASSERT_LT(deaths, 1000);
      DyingJournal dying(*journal_, 4 + deaths % 3, deaths % 2 == 0);
      bool finished = false;
      try {
        finished = run(GiB, &dying) == ExperimentEnd::finished;
      } catch (const DyingJournal::Death&) {
      }
      const auto after = journal_->decisions();
      ASSERT_GE(after.size(), before.size());
      EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
      before = after;
      if (finished) break;
    }
    for (const auto& record : journal_->trials()) {
      EXPECT_GT(record.state, TrialState::active) << record.spec.id;
      EXPECT_EQ(record.state == TrialState::stopped, !record.reason.empty()) << record.spec.id;
    }
  }
}

TEST_F(SearchLoopTest, AProposalThatCannotRunFailsAlone) {
  for (const auto method : {Method::tpe, Method::successive_halving, Method::pbt}) {
    forget();
    use(method, 4, 2);
    search_.eta = 2;
    unfit_ = {"t01"};
    EXPECT_GT(run_with_deaths(3), 2);
    const auto records = journal_->trials();
    ASSERT_GE(records.size(), 4u);
    for (const auto& record : records) {
      EXPECT_EQ(record.state == TrialState::failed, record.spec.id == "t01") << record.spec.id << record.reason;
      if (record.state == TrialState::failed) {
        EXPECT_THAT(record.reason, HasSubstr("t01 does not fit"));
      }
    }
  }
  forget();
  use(Method::random, 2, 1);
  EXPECT_THROW(run(GiB), Failure);  // was refused before training
}

}  // namespace
}  // namespace hopyard
