#include "experiment/journaled_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/memory_journal.h"

namespace hopyard {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::unique_ptr<Searcher> asha(std::uint64_t seed = 1) {
  SearchSpec spec;
  spec.method = SearchSpec::Method::asha;
  spec.trials = 4, spec.max_epochs = 2, spec.eta = 2;
  return make_searcher(spec, {{"lr", Dimension::Kind::uniform, {}, 0, 1}}, seed);
}

TrialScore score(const std::string& trial, double metric) { return {trial, 1, 0, 0, metric, ""}; }

/// Asks for the trials and has the journal know them and their scores.
void begin(JournaledSearch& search, Journal& journal, const std::vector<double>& metrics) {
  for (std::size_t i = 0; i < metrics.size(); ++i) journal.add_trial(search.ask()->trial);
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    VisitCommit commit;
    commit.trial = text::cat("t0", i);
    commit.score = score(commit.trial, metrics[i]);
    journal.commit(commit, {});
    search.tell(*commit.score);
  }
}

struct TakenUp {
  std::vector<std::string> orders, stops;
};
TakenUp take_up(JournaledSearch& search, const Journal& journal) {
  TakenUp taken;
  search.take_up(
      journal.trials(),
      [&](const TrialOrder& order) { taken.orders.push_back(text::cat(order.trial.id, "@", *order.until_epoch)); },
      [&](const TrialStop& stop) { taken.stops.push_back(stop.trial); });
  return taken;
}

TEST(JournaledSearch, ADecisionIsJournaledWithTheNewsBeforeIt) {
  MemoryJournal journal;
  const auto searcher = asha();
  JournaledSearch search(*searcher, journal);
  begin(search, journal, {0.3, 0.1});
  search.tell_end("t01", TrialState::stopped);
  EXPECT_EQ(search.ask()->trial.id, "t00");
  const std::vector<SearchNews> news{{"t00", 1, 0.3, {}}, {"t01", 1, 0.1, {}}, {"t01", 0, 0, TrialState::stopped}};
  EXPECT_THAT(journal.decisions(), ElementsAre(SearchDecision{{}, "t00", 1u, {}}, SearchDecision{{}, "t01", 1u, {}},
                                               SearchDecision{news, "t00", 2u, {}}));
}

TEST(JournaledSearch, IsTakenUpAndToldTheRest) {
  MemoryJournal journal;
  const auto first = asha();
  JournaledSearch before(*first, journal);
  begin(before, journal, {0.3, 0.1, 0.5, 0.7});
  const auto searcher = asha();
  JournaledSearch search(*searcher, journal);
  const TakenUp taken = take_up(search, journal);
  EXPECT_THAT(taken.orders, ElementsAre("t00@1", "t01@1", "t02@1", "t03@1"));
  EXPECT_THAT(taken.stops, IsEmpty());
  const auto order = search.ask();
  EXPECT_EQ(order->trial.id, "t03");
  EXPECT_EQ(journal.decisions().at(4).news.size(), 4u) << "scores that no decision had seen";
  EXPECT_EQ(order, first->ask());
}

TEST(JournaledSearch, AStopThatWasJournaledIsNotTakenAgain) {
  MemoryJournal journal;
  const auto first = asha();
  JournaledSearch before(*first, journal);
  begin(before, journal, {0.3, 0.1, 0.5, 0.7});
  const auto stopped = before.take_stop();
  ASSERT_TRUE(stopped);
  const auto searcher = asha();
  JournaledSearch search(*searcher, journal);
  EXPECT_THAT(take_up(search, journal).stops, ElementsAre(stopped->trial));
  const auto next = search.take_stop();
  ASSERT_TRUE(next);
  EXPECT_NE(next->trial, stopped->trial);
  EXPECT_FALSE(search.take_stop());
}

TEST(JournaledSearch, AnotherSearchDoesNotTakeTheJournalUp) {
  MemoryJournal journal;
  journal.add_decision({{}, "t01", 1u, {}});
  const auto searcher = asha();
  JournaledSearch search(*searcher, journal);
  EXPECT_THROW(take_up(search, journal), std::logic_error);
  MemoryJournal other;
  other.add_decision({{{"t07", 1, 0.5, {}}}, "t00", 1u, {}});
  JournaledSearch again(*searcher, other);
  EXPECT_THROW(take_up(again, other), std::logic_error);
}

TEST(JournaledSearch, WhatDoesNotReactIsNotJournaled) {
  MemoryJournal journal;
  const auto searcher = make_searcher({}, {{"lr", Dimension::Kind::grid, {0.1, 0.2}}}, 1);
  JournaledSearch search(*searcher, journal);
  EXPECT_EQ(search.ask()->trial.id, "t00");
  search.tell(score("t00", 0.5));
  search.tell_end("t00", TrialState::finished);
  EXPECT_THAT(journal.decisions(), IsEmpty());
}

}  // namespace
}  // namespace hopyard
