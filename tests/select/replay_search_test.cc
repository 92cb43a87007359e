// Doing again what another searcher decided.
#include "select/replay_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "select/search_world.h"

namespace hopyard {
namespace {

using Method = SearchSpec::Method;
using testing::ElementsAre;
using namespace fakes;

constexpr std::uint32_t kEpochs = 9;

double losses(const TrialSpec& trial, std::uint32_t epoch) {
  return static_cast<double>(derive(derive(trial.seed, trial.index), epoch) % 50);
}

std::unique_ptr<Searcher> make(Method method, std::uint64_t seed) {
  return make_searcher(search_spec(method, method == Method::hyperband ? 0 : 18, kEpochs),
                       {range("lr", Dimension::Kind::loguniform, 1e-5, 1e-1)}, seed);
}

ReplayStep stop_step(const TrialStop& stop) {
  ReplayStep step;
  step.stop = stop;
  return step;
}

/// The orders that a searcher gave, and its stops as soon as they were given, as the journal would have them.
std::vector<ReplayStep> record(Searcher& searcher, std::uint32_t workers, std::uint64_t key) {
  SearchWorld world(losses, workers, key, kEpochs);
  std::vector<ReplayStep> steps;
  std::size_t orders = 0, stops = 0;
  for (std::size_t events = 1; !searcher.finished() || orders + stops == 0; ++events) {
    world.run(searcher, events);
    for (; orders < world.events.size(); ++orders)
      if (const auto* order = std::get_if<TrialOrder>(&world.events[orders])) steps.push_back({*order, std::nullopt});
    for (; stops < world.stops.size(); ++stops) steps.push_back(stop_step(world.stops[stops]));
    if (events > 10'000) ADD_FAILURE() << "the searcher does not end";
  }
  world.run(searcher);
  for (; stops < world.stops.size(); ++stops) steps.push_back(stop_step(world.stops[stops]));
  return steps;
}

TEST(ReplaySearch, GivesTheSameOrdersWhateverTheScores) {
  for (const Method method : {Method::asha, Method::hyperband, Method::pbt, Method::tpe, Method::successive_halving})
    for (std::uint64_t run = 0; run < 6; ++run) {
      const auto searcher = make(method, run);
      const auto steps = record(*searcher, 1 + static_cast<std::uint32_t>(run % 4), run);
      ASSERT_TRUE(searcher->finished());
      const auto again = make_replay_searcher(steps, "the end");
      SearchWorld world([](const TrialSpec&, std::uint32_t) { return 1.0; }, 3, run + 1, kEpochs);
      world.run(*again);
      EXPECT_TRUE(again->finished()) << static_cast<int>(method) << ' ' << run;
      std::vector<TrialOrder> expected, got;
      std::vector<TrialStop> stopped;
      for (const auto& step : steps) step.stop ? stopped.push_back(*step.stop) : expected.push_back(step.order);
      for (const auto& event : world.events)
        if (const auto* order = std::get_if<TrialOrder>(&event)) got.push_back(*order);
      EXPECT_EQ(got, expected) << static_cast<int>(method) << ' ' << run;
      EXPECT_EQ(world.stops, stopped) << static_cast<int>(method) << ' ' << run;
    }
}

TrialOrder order(const std::string& id, std::uint32_t until, std::optional<Lineage> lineage = std::nullopt) {
  TrialSpec spec{id, 77, 1, {}};
  spec.lineage = std::move(lineage);
  return {spec, until};
}

std::string asked(Searcher& searcher) {
  const auto next = searcher.ask();
  return next ? text::cat(next->trial.index, " ", describe_order(*next)) : "nothing";
}

TEST(ReplaySearch, WaitsForWhatAStepNeedsAndNoLonger) {
  const auto searcher = make_replay_searcher({{order("t05", 2), std::nullopt},
                                              {order("t06", 3, Lineage{"t05", 2}), std::nullopt},
                                              {order("t05", 4), std::nullopt},
                                              stop_step({"t06", "worse"})},
                                             "the end");
  EXPECT_EQ(asked(*searcher), "0 t05@2");
  EXPECT_EQ(asked(*searcher), "nothing");
  searcher->tell({"t05", 1, 0, 0, 0, ""});
  EXPECT_EQ(asked(*searcher), "nothing");
  searcher->tell({"t05", 2, 0, 0, 0, ""});
  EXPECT_EQ(asked(*searcher), "1 t06<t05+2@3");
  EXPECT_EQ(asked(*searcher), "0 t05@4");
  EXPECT_TRUE(searcher->take_stops().empty());
  searcher->tell({"t06", 3, 0, 0, 0, ""});
  EXPECT_THAT(searcher->take_stops(), ElementsAre(TrialStop{"t06", "worse"}));
  EXPECT_FALSE(searcher->finished());
  searcher->tell({"t05", 4, 0, 0, 0, ""});
  EXPECT_THAT(searcher->take_stops(), ElementsAre(TrialStop{"t05", "the end"}));
  EXPECT_TRUE(searcher->finished());
}

TEST(ReplaySearch, LeavesOutWhatCannotBeAnyMore) {
  const auto searcher = make_replay_searcher({{order("t00", 1), std::nullopt},
                                              {order("t01", 1), std::nullopt},
                                              {order("t00", 3), std::nullopt},
                                              {order("t02", 3, Lineage{"t00", 1}), std::nullopt},
                                              stop_step({"t02", "worse"}),
                                              {order("t01", 2), std::nullopt}},
                                             "the end");
  asked(*searcher);
  asked(*searcher);
  searcher->tell_end("t00", TrialState::failed);
  searcher->tell({"t01", 1, 0, 0, 0, ""});
  EXPECT_EQ(asked(*searcher), "1 t01@2");
  searcher->tell({"t01", 2, 0, 0, 0, ""});
  searcher->tell_end("t01", TrialState::finished);
  EXPECT_TRUE(searcher->take_stops().empty());
  EXPECT_TRUE(searcher->finished());
  EXPECT_THROW(searcher->tell({"t00", 2, 0, 0, 0, ""}), Failure);
  EXPECT_THROW(searcher->tell_end("t09", TrialState::finished), Failure);
}

}  // namespace
}  // namespace hopyard
