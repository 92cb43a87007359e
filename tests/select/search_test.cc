#include "select/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "select/search_world.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace fakes;

SearchSpec random_spec(std::uint32_t trials) {
  SearchSpec spec;
  spec.method = SearchSpec::Method::random;
  spec.trials = trials;
  return spec;
}

std::vector<TrialSpec> ask_all(Searcher& searcher) {
  std::vector<TrialSpec> trials;
  while (auto order = searcher.ask()) trials.push_back(order->trial);
  return trials;
}

TEST(Grid, AllCombinationsTheLastDimensionFastest) {
  const auto searcher = make_searcher(
      {},
      {listed("model.freeze", {std::int64_t{0}, std::int64_t{4}}), listed("train.optimizer.lr", {1e-5, 1e-4, 1e-3})},
      17);
  const auto trials = ask_all(*searcher);
  ASSERT_EQ(trials.size(), 6u);
  EXPECT_EQ(trials[0].id, "t00");
  EXPECT_EQ(trials[5].id, "t05");
  EXPECT_EQ(trials[1].settings,
            (std::vector<Setting>{{"model.freeze", std::int64_t{0}}, {"train.optimizer.lr", 1e-4}}));
  EXPECT_EQ(trials[3].settings,
            (std::vector<Setting>{{"model.freeze", std::int64_t{4}}, {"train.optimizer.lr", 1e-5}}));
  EXPECT_TRUE(searcher->finished());
  EXPECT_FALSE(searcher->ask());
}

TEST(Grid, AnEmptySpaceIsOneTrial) {
  const auto searcher = make_searcher({}, {}, 17);
  EXPECT_FALSE(searcher->finished());
  EXPECT_EQ(ask_all(*searcher).size(), 1u);
}

TEST(Grid, SeedFollowsFromSettingsAndNotFromThePlace) {
  const auto forth = make_searcher({}, {listed("train.optimizer.lr", {0.1, 0.2})}, 17);
  const auto back = make_searcher({}, {listed("train.optimizer.lr", {0.2, 0.1})}, 17);
  const auto a = ask_all(*forth), b = ask_all(*back);
  EXPECT_EQ(a[0].seed, b[1].seed);
  EXPECT_NE(a[0].seed, a[1].seed);
  EXPECT_EQ(a[0].seed, trial_seed(17, a[0].settings));
}

TEST(Grid, IdsSortLikeNumbers) {
  std::vector<SettingValue> many(101, 0.5);
  const auto trials = ask_all(*make_searcher({}, {listed("train.optimizer.lr", many)}, 1));
  EXPECT_EQ(trials.front().id, "t000");
  EXPECT_EQ(trials.back().id, "t100");
}

TEST(Grid, RefusesRangesEmptyListsAndTooMuch) {
  EXPECT_THAT(refusal({}, {range("train.optimizer.lr", Kind::uniform, 0, 1)}),
              HasSubstr("'train.optimizer.lr' is a range"));
  EXPECT_THAT(refusal({}, {listed("model.freeze", {})}), HasSubstr("'model.freeze' has no values"));
  const std::vector<SettingValue> thousand(1000, 1.0);
  EXPECT_THAT(refusal({}, {listed("a", thousand), listed("b", thousand)}), HasSubstr("more than"));
}

TEST(Random, DrawsWithinTheirDimensions) {
  const auto trials =
      ask_all(*make_searcher(random_spec(500),
                             {range("uniform", Kind::uniform, -1, 3), range("log", Kind::loguniform, 1e-6, 1e-2),
                              range("int", Kind::integer, 2, 5),
                              listed("choice", {std::string("a"), true}, Kind::choice), listed("grid", {1.0, 2.0})},
                             3));
  ASSERT_EQ(trials.size(), 500u);
  std::set<std::int64_t> integers;
  int small = 0, letters = 0;
  for (const TrialSpec& trial : trials) {
    const double uniform = std::get<double>(trial.settings[0].value), log = std::get<double>(trial.settings[1].value);
    ASSERT_TRUE(uniform >= -1 && uniform < 3);
    ASSERT_TRUE(log >= 1e-6 && log <= 1e-2);
    small += log < 1e-4;
    integers.insert(std::get<std::int64_t>(trial.settings[2].value));
    letters += std::holds_alternative<std::string>(trial.settings[3].value);
  }
  EXPECT_THAT(integers, ElementsAre(2, 3, 4, 5));
  EXPECT_NEAR(small, 250, 60);  // half of the range of logarithms lies below 1e-4
  EXPECT_NEAR(letters, 250, 60);
}

TEST(Random, KeyedByIndexAndPath) {
  const std::vector<Dimension> lr{range("lr", Kind::loguniform, 1e-5, 1e-2)};
  std::vector<Dimension> more = lr;
  more.insert(more.begin(), range("decay", Kind::uniform, 0, 1));
  const auto few = ask_all(*make_searcher(random_spec(3), lr, 9)),
             many = ask_all(*make_searcher(random_spec(8), lr, 9));
  const auto wide = ask_all(*make_searcher(random_spec(3), more, 9)),
             other = ask_all(*make_searcher(random_spec(3), lr, 10));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(few[i].settings, many[i].settings);
    EXPECT_EQ(few[i].settings[0], wide[i].settings[1]);
    EXPECT_NE(few[i].settings, other[i].settings);
  }
  EXPECT_NE(many[0].settings, many[1].settings);
}

TEST(Random, AskingAgainAndBeingToldChangesNothing) {
  const std::vector<Dimension> space{range("lr", Kind::uniform, 0, 1)};
  const auto told = make_searcher(random_spec(4), space, 9), silent = make_searcher(random_spec(4), space, 9);
  for (int i = 0; i < 4; ++i) {
    const auto order = told->ask();
    EXPECT_EQ(order, silent->ask());
    told->tell({order->trial.id, 1, 0.5, 0.5, 0.9, ""});
    told->tell_end(order->trial.id, TrialState::failed);
  }
  EXPECT_TRUE(told->finished());
}

TEST(Random, RefusesImpossibleSpaces) {
  const auto spec = random_spec(4);
  EXPECT_THAT(refusal(random_spec(0), {}), HasSubstr("search.trials"));
  EXPECT_THAT(refusal(random_spec(4'000'000), {}), HasSubstr("search.trials is 4000000"));
  EXPECT_THAT(refusal(spec, {range("lr", Kind::uniform, 2, 1)}), HasSubstr("'lr' goes from 2 to 1"));
  EXPECT_THAT(refusal(spec, {range("lr", Kind::loguniform, 0, 1)}), HasSubstr("above 0"));
  EXPECT_THAT(refusal(spec, {range("k", Kind::integer, 0.5, 2)}), HasSubstr("whole numbers"));
  EXPECT_THAT(refusal(spec, {range("k", Kind::integer, 0, 1e300)}), HasSubstr("whole numbers"));
  EXPECT_THAT(refusal(spec, {range("lr", Kind::uniform, 0, std::numeric_limits<double>::infinity())}),
              HasSubstr("'lr'"));
}

TEST(Random, TenThousandsOfTrialsAreAskedForAtOnce) {
  const auto searcher = make_searcher(random_spec(50'000), {range("lr", Kind::uniform, 0, 1)}, 9);
  const auto trials = ask_all(*searcher);
  ASSERT_EQ(trials.size(), 50'000u);
  EXPECT_EQ(trials.back().id, "t49999");
  EXPECT_EQ(trials.front().id, "t00000");
}

TEST(Book, RefusesWhatComesOutOfOrder) {
  const auto told = [](const std::vector<TrialScore>& scores, const char* ended) {
    const auto searcher = make_searcher(search_spec(SearchSpec::Method::asha, 9, 9), {}, 1);
    searcher->ask();
    try {
      for (const TrialScore& score : scores) searcher->tell(score);
      if (ended != nullptr) searcher->tell_end(ended, TrialState::failed);
      if (ended != nullptr) searcher->tell_end(ended, TrialState::failed);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::usage);
      return std::string(failure.what());
    }
    return std::string();
  };
  EXPECT_EQ(told({{"t00", 1}}, nullptr), "");
  for (const char* unknown : {"t01", "t0", "t", "", "x00", "t00x", "t99999999999"})
    EXPECT_THAT(told({{unknown, 1}}, nullptr), HasSubstr("never asked for")) << unknown;
  EXPECT_THAT(told({{"t00", 2}}, nullptr), HasSubstr("at epoch 2 and expects one after epoch 0, up to 1"));
  EXPECT_THAT(told({{"t00", 0}}, nullptr), HasSubstr("at epoch 0"));
  EXPECT_THAT(told({{"t00", 1}, {"t00", 1}}, nullptr), HasSubstr("had asked for it until epoch 1"));
  EXPECT_THAT(told({}, "t00"), HasSubstr("the end of trial t00, which has ended"));
}

TEST(Methods, ReactAsTheyAreSaidTo) {
  using Method = SearchSpec::Method;
  for (const auto method : {Method::grid, Method::random, Method::sobol, Method::tpe, Method::successive_halving,
                            Method::asha, Method::hyperband, Method::pbt, Method::external}) {
    SearchSpec spec;
    spec.method = method;
    spec.trials = 9;
    spec.max_epochs = 9;
    const auto searcher = make_searcher(spec, {listed("lr", {0.1, 0.2})}, 5);
    EXPECT_EQ(searcher->reacts(), reacts_to_scores(method)) << static_cast<int>(method);
  }
}

TEST(Methods, EpochsThatTrialsAreGiven) {
  SearchSpec spec;
  EXPECT_FALSE(epochs_expected(spec, 4));
  spec.max_epochs = 9;
  spec.trials = 9;
  spec.method = SearchSpec::Method::asha;
  EXPECT_THAT(*epochs_expected(spec, 9), ElementsAre(9, 3, 3, 1, 1, 1, 1, 1, 1));
  spec.min_epochs = Epochs::of_visits(1, 2);
  const Epochs half = spec.min_epochs, one_and_a_half = half * 3;
  EXPECT_THAT(*epochs_expected(spec, 9),
              ElementsAre(9, one_and_a_half, one_and_a_half, half, half, half, half, half, half));
  spec.min_epochs = 1;
  spec.method =
      SearchSpec::Method::hyperband;  // brackets of 9, 5 and 3 trials (Li et al., JMLR 2018, table 1's formula)
  const auto epochs = *epochs_expected(spec, 17);
  EXPECT_EQ(epochs.size(), 17u);
  EXPECT_EQ(std::count(epochs.begin(), epochs.end(), 9u), 1 + 1 + 3);
  spec.method = SearchSpec::Method::pbt;
  spec.trials = 8;
  spec.max_epochs = 10;
  EXPECT_EQ(clones_expected(spec), 9u * 2u);
}

TEST(Rank, BetterFirstMissingLastTiesInOrder) {
  const std::vector<std::optional<double>> metrics{0.5, std::nullopt, 0.9, 0.5, std::nan(""), 0.1};
  EXPECT_THAT(rank(metrics, true), ElementsAre(2, 0, 3, 5, 1, 4));
  EXPECT_THAT(rank(metrics, false), ElementsAre(5, 0, 3, 2, 1, 4));
  EXPECT_TRUE(rank({}, true).empty());
}

}  // namespace
}  // namespace hopyard
