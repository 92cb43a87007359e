// Successive halving, ASHA and Hyperband against their papers.
#include "select/halving_bracket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "select/recorded_curves.h"
#include "select/search_world.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using Method = SearchSpec::Method;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using namespace fakes;

SearchSpec halving(Method method, std::uint32_t trials, std::uint32_t max_epochs, std::uint32_t eta = 3) {
  SearchSpec spec = search_spec(method, trials, max_epochs);
  spec.eta = eta;
  return spec;
}

/// Validation losses of nine trials after 1, 3 and 9 epochs.
constexpr double kCurves[9][3] = {{.90, .86, .80}, {.80, .70, .66}, {.70, .60, .55}, {.60, .50, .48}, {.50, .45, .40},
                                  {.40, .44, .39}, {.95, .90, .90}, {.30, .61, .61}, {.20, .43, .35}};

double recorded(const TrialSpec& trial, std::uint32_t epoch) {
  return kCurves[trial.index][epoch >= 9 ? 2 : epoch >= 3 ? 1 : 0];
}

std::vector<std::string> reasons(const SearchWorld& world) {
  std::vector<std::string> all;
  for (const auto& stop : world.stops) all.push_back(stop.trial + " " + stop.reason);
  return all;
}

/// Algorithm 2 of Li et al., MLSys 2020, by hand for one worker, eta = 3: before each question, for rungs 1 and 0, the
/// best third of a rung's results is looked through for one that is not promoted yet.
TEST(Asha, PromotesAsThePaperDoes) {
  const auto searcher = make_searcher(halving(Method::asha, 9, 9), {}, 1);
  SearchWorld world(recorded, 1, 1, 9);
  world.run(*searcher);
  EXPECT_THAT(world.orders(), ElementsAre("t00@1", "t01@1", "t02@1",  // three results: one may go on
                                          "t02@3",                    // .70 is the best of .90 .80 .70
                                          "t03@1",                    // rung 1 has one result, t02 is promoted
                                          "t03@3",                    // .60 is now the best of four
                                          "t04@1", "t04@3",           //
                                          "t04@9",                    // .45 is the best of rung 1's .60 .50 .45
                                          "t05@1", "t05@3",           // the best two of six: .40 .50
                                          "t05@9",                    // .44 is the best of four in rung 1
                                          "t06@1",                    // .95: the best two of seven are promoted
                                          "t07@1", "t07@3",           // .30; then .61 is the worst of rung 1
                                          "t08@1", "t08@3",           // .20
                                          "t08@9"));                  // the best two of six in rung 1: .43 .44
  EXPECT_TRUE(searcher->finished());
  EXPECT_FALSE(searcher->ask());
}

/// get_job() of algorithm 2 of Li et al., MLSys 2020, as it stands there, over what was told so far.
class PublishedAsha {
 public:
  PublishedAsha(std::vector<Epochs> rungs, std::size_t eta)
      : epochs_(std::move(rungs)), eta_(eta), results_(epochs_.size()), promoted_(epochs_.size()) {}

  void tell(const TrialScore& score) {
    for (std::size_t k = 0; k < epochs_.size(); ++k)
      if (epochs_[k] == score.epoch) results_[k].emplace_back(score.metric, score.trial);
  }

  /// "t03@9"; "new" where no trial can be promoted.
  std::string get_job() {
    for (std::size_t k = epochs_.size() - 1; k-- > 0;) {
      auto top = results_[k];
      std::sort(top.begin(), top.end());
      top.resize(top.size() / eta_);
      for (const auto& [loss, trial] : top)
        if (promoted_[k].insert(trial).second) return text::cat(trial, "@", epochs_[k + 1]);
    }
    return "new";
  }

 private:
  const std::vector<Epochs> epochs_;
  const std::size_t eta_;
  std::vector<std::vector<std::pair<double, std::string>>> results_;  // by rung
  std::vector<std::set<std::string>> promoted_;
};

/// On learning curves of a real sweep, with one to eight workers, every job is the one that the paper's algorithm
/// gives. The nine points of a curve are epochs, or thirds of an epoch, and then the first rung is one of these.
class AshaOnRecordedCurves : public testing::TestWithParam<std::uint32_t> {};

TEST_P(AshaOnRecordedCurves, PromotesAsThePaperDoes) {
  const std::size_t trials = std::size(kRecordedCurves), points = std::size(kRecordedCurves[0]);
  const std::uint32_t per_epoch = GetParam();
  auto spec = halving(Method::asha, static_cast<std::uint32_t>(trials), static_cast<std::uint32_t>(points) / per_epoch);
  spec.min_epochs = Epochs::of_visits(1, per_epoch);
  const auto loss = [](const TrialSpec& trial, std::uint32_t visits) {
    return kRecordedCurves[trial.index][visits - 1];
  };
  for (std::uint32_t workers = 1; workers <= 8; ++workers) {
    const auto searcher = make_searcher(spec, {}, 1);
    SearchWorld world(loss, workers, workers, spec.max_epochs, per_epoch);
    world.run(*searcher);
    PublishedAsha published({spec.min_epochs, spec.min_epochs * 3, spec.min_epochs * 9}, spec.eta);
    std::size_t promotions = 0;
    for (const auto& event : world.events) {
      if (const auto* score = std::get_if<TrialScore>(&event)) published.tell(*score);
      const auto* order = std::get_if<TrialOrder>(&event);
      if (order == nullptr) continue;
      const std::string job = published.get_job();
      ASSERT_EQ(order->until_epoch == spec.min_epochs ? "new" : describe_order(*order), job) << workers;
      promotions += job != "new";
    }
    EXPECT_EQ(published.get_job(), "new") << "it ended with a trial that could be promoted";
    EXPECT_GE(promotions, trials / 3 + trials / 9) << workers;
  }
}

INSTANTIATE_TEST_SUITE_P(VisitsPerEpoch, AshaOnRecordedCurves, testing::Values(1, 3));

/// 12 trials, a quarter, one epoch and four epochs: of twelve three go on, of three one.
TEST(Asha, OneComesToTheEndAlsoOfFewerThanEta) {
  auto spec = halving(Method::asha, 12, 4, 4);
  spec.min_epochs = Epochs::of_visits(1, 4);
  const auto searcher = make_searcher(spec, {}, 1);
  SearchWorld world([](const TrialSpec& trial, std::uint32_t) { return trial.index; }, 2, 1, 4, 4);
  world.run(*searcher);
  EXPECT_TRUE(searcher->finished());
  const auto orders = world.orders();
  EXPECT_EQ(orders.size(), 12u + 3 + 1);
  EXPECT_EQ(orders.front(), "t00@0.25");
  EXPECT_EQ(orders.back(), "t00@4");
  EXPECT_THAT(reasons(world), testing::Contains(HasSubstr("not promoted beyond epoch 0.25: place")));
}

/// Of nine results in rung 0 three go on at most: a fourth place is the end.
TEST(Asha, StopsWhoCannotBePromotedAnyMore) {
  const auto searcher = make_searcher(halving(Method::asha, 9, 9), {}, 1);
  SearchWorld world(recorded, 1, 1, 9);
  world.run(*searcher);
  EXPECT_THAT(reasons(world),
              UnorderedElementsAre(
                  "t00 not promoted beyond epoch 1: place 4 of 4", "t01 not promoted beyond epoch 1: place 4 of 5",
                  "t06 not promoted beyond epoch 1: place 7 of 7", HasSubstr("t02 not promoted beyond epoch 3"),
                  HasSubstr("t03 not promoted beyond epoch 3"), HasSubstr("t07 not promoted beyond epoch 3")));
}

TEST(Asha, EveryTrialEndsWhateverTheOrderOfScores) {
  for (std::uint64_t key = 0; key < 60; ++key) {
    const auto spec = halving(Method::asha, 40, 27 + static_cast<std::uint32_t>(key % 9), key % 2 == 0 ? 3 : 2);
    const auto searcher = make_searcher(spec, {range("x", Kind::uniform, 0, 1)}, key);
    SearchWorld world(
        [&](const TrialSpec& trial, std::uint32_t epoch) {
          const double x = std::get<double>(trial.settings[0].value);
          if (x < 0.1 && epoch > 2) return -1.0;            // diverges
          return x < 0.2 ? std::nan("") : x + 1.0 / epoch;  // has no metric
        },
        5, key, spec.max_epochs);
    world.run(*searcher);
    EXPECT_TRUE(searcher->finished()) << key;
    std::set<std::string> ended;
    for (const auto& event : world.events) {
      if (const auto* end = std::get_if<Ended>(&event)) {
        EXPECT_TRUE(ended.insert(end->trial).second);
      }
    }
    for (const auto& stop : world.stops) EXPECT_TRUE(ended.insert(stop.trial).second) << key << ' ' << stop.trial;
    EXPECT_EQ(ended.size(), 40u) << key;
    EXPECT_GT(std::count_if(world.epochs.begin(), world.epochs.end(),
                            [&](const auto& trial) { return trial.second == spec.max_epochs; }),
              0);
  }
}

TEST(Asha, ADivergedTrialIsTheWorstAndNotPromoted) {
  const auto searcher = make_searcher(halving(Method::asha, 3, 3), {}, 1);
  for (int i = 0; i < 3; ++i) searcher->ask();
  searcher->tell_end("t00", TrialState::failed);
  searcher->tell({"t01", 1, 0, 0, std::nan(""), ""});
  EXPECT_THAT(searcher->take_stops(), ElementsAre(TrialStop{"t01", "not promoted beyond epoch 1: place 2 of 2"}));
  searcher->tell({"t02", 1, 0, 0, 7, ""});
  const auto order = searcher->ask();
  ASSERT_TRUE(order);
  EXPECT_EQ(describe_order(*order), "t02@3");
  EXPECT_TRUE(searcher->finished());
}

TEST(Asha, MaximizesWhereAsked) {
  SearchSpec spec = halving(Method::asha, 3, 3);
  spec.maximize = true;
  const auto searcher = make_searcher(spec, {}, 1);
  for (int i = 0; i < 3; ++i) {
    const auto order = searcher->ask();
    searcher->tell({order->trial.id, 1, 0, 0, 0.5 + i % 2, ""});
  }
  EXPECT_EQ(describe_order(*searcher->ask()), "t01@3");
}

TEST(Asha, RefusesNumbersThatLeaveNothing) {
  EXPECT_THAT(refusal(halving(Method::asha, 0, 9), {}), HasSubstr("search.method: asha needs search.trials"));
  EXPECT_THAT(refusal(halving(Method::asha, 9, 9, 1), {}), HasSubstr("search.eta is 1"));
  SearchSpec spec = halving(Method::asha, 9, 9);
  spec.min_epochs = 10;
  EXPECT_THAT(refusal(spec, {}), HasSubstr("search.min_epochs is 10 and train.epochs 9"));
  spec.min_epochs = 0;
  EXPECT_THAT(refusal(spec, {}), HasSubstr("search.min_epochs is 0"));
}

TEST(SuccessiveHalving, HalvesWhenTheWholeRungIsDone) {
  const auto searcher = make_searcher(halving(Method::successive_halving, 9, 9), {}, 1);
  SearchWorld world(recorded, 4, 3, 9);
  world.run(*searcher);
  EXPECT_THAT(world.orders(), ElementsAre("t00@1", "t01@1", "t02@1", "t03@1", "t04@1", "t05@1", "t06@1", "t07@1",
                                          "t08@1", "t08@3", "t07@3", "t05@3", "t08@9"));
  EXPECT_THAT(reasons(world),
              UnorderedElementsAre(
                  "t04 not promoted beyond epoch 1: place 4 of 9", "t03 not promoted beyond epoch 1: place 5 of 9",
                  "t02 not promoted beyond epoch 1: place 6 of 9", "t01 not promoted beyond epoch 1: place 7 of 9",
                  "t00 not promoted beyond epoch 1: place 8 of 9", "t06 not promoted beyond epoch 1: place 9 of 9",
                  "t05 not promoted beyond epoch 3: place 2 of 3", "t07 not promoted beyond epoch 3: place 3 of 3"));
  EXPECT_TRUE(searcher->finished());
}

TEST(SuccessiveHalving, OthersTakeThePlaceOfTheDead) {
  const auto searcher = make_searcher(halving(Method::successive_halving, 9, 9), {}, 1);
  SearchWorld world(
      [](const TrialSpec& trial, std::uint32_t epoch) {
        return trial.index > 6 || (trial.index == 5 && epoch > 1) ? -1 : recorded(trial, epoch);
      },
      4, 3, 9);
  world.run(*searcher);
  const auto orders = world.orders();
  EXPECT_THAT(std::vector(orders.begin() + 9, orders.end()), ElementsAre("t05@3", "t04@3", "t03@3", "t04@9"));
  EXPECT_TRUE(searcher->finished());
}

TEST(SuccessiveHalving, EndsWhenAllAreDead) {
  const auto searcher = make_searcher(halving(Method::successive_halving, 9, 9), {}, 1);
  SearchWorld world([](const TrialSpec&, std::uint32_t) { return -1; }, 4, 3, 9);
  world.run(*searcher);
  EXPECT_EQ(world.orders().size(), 9u);
  EXPECT_TRUE(searcher->finished());
}

TEST(SuccessiveHalving, TheLastRungHasAllEpochs) {
  const auto orders = [](std::uint32_t trials, std::uint32_t epochs, std::uint32_t eta) {
    const auto searcher = make_searcher(halving(Method::successive_halving, trials, epochs, eta), {}, 1);
    SearchWorld world(recorded, 4, 3, epochs);
    world.run(*searcher);
    const auto all = world.orders();
    return std::vector(all.begin() + trials, all.end());
  };
  EXPECT_THAT(orders(8, 7, 2), ElementsAre("t07@2", "t05@2", "t04@2", "t03@2", "t07@4", "t05@4", "t05@7"));
  EXPECT_THAT(orders(9, 10, 3), ElementsAre("t08@3", "t07@3", "t05@3", "t08@10"));
  EXPECT_THAT(orders(4, 2, 3), ElementsAre("t03@2"));
  EXPECT_THAT(orders(3, 7, 2), ElementsAre("t02@2", "t02@4", "t02@7")) << "one comes to the end";
}

TEST(SuccessiveHalving, RungsWithinAnEpoch) {
  auto spec = halving(Method::successive_halving, 9, 1);
  spec.min_epochs = Epochs::of_visits(1, 9);
  const auto searcher = make_searcher(spec, {}, 1);
  SearchWorld world(recorded, 4, 3, 1, 9);
  world.run(*searcher);
  const auto orders = world.orders();
  EXPECT_THAT(std::vector(orders.begin() + 8, orders.end()),
              ElementsAre("t08@0.1111", "t08@0.3333", "t07@0.3333", "t05@0.3333", "t08@1"));
  EXPECT_THAT(reasons(world), testing::Contains("t05 not promoted beyond epoch 0.3333: place 2 of 3"));
}

using Rungs = std::vector<HalvingBracket::Rung>;

/// Whatever the numbers: a rung ends with a visit, rungs rise, and the last one has all epochs.
TEST(Rungs, AreWholeVisits) {
  for (std::uint32_t per_epoch = 1; per_epoch <= 12; ++per_epoch)
    for (std::uint32_t first = 1; first <= 3 * per_epoch; ++first)
      for (std::uint32_t eta = 2; eta <= 5; ++eta) {
        auto spec = halving(Method::asha, 1, 3 + first % 7, eta);
        spec.min_epochs = Epochs::of_visits(first, per_epoch);
        const auto rungs = rung_epochs(spec);
        EXPECT_EQ(rungs.back(), spec.max_epochs);
        for (std::size_t k = 0; k < rungs.size(); ++k) {
          EXPECT_TRUE(rungs[k].is_whole_visits(per_epoch)) << rungs[k] << " with " << per_epoch;
          EXPECT_TRUE(k == 0 || rungs[k - 1] < rungs[k]);
        }
        for (const auto& bracket : hyperband_plan(spec.min_epochs, spec.max_epochs, eta)) {
          EXPECT_EQ(bracket.back().epochs, spec.max_epochs);
          for (const auto& rung : bracket) {
            EXPECT_GE(rung.epochs, spec.min_epochs);
            EXPECT_TRUE(rung.epochs.is_whole_visits(per_epoch));
          }
        }
      }
}

/// Table 1 of Li et al., JMLR 18 (2018).
TEST(Hyperband, BracketsAreThoseOfThePaper) {
  EXPECT_THAT(hyperband_plan(1, 81, 3),
              ElementsAre(Rungs{{81, 1}, {27, 3}, {9, 9}, {3, 27}, {1, 81}}, Rungs{{34, 3}, {11, 9}, {3, 27}, {1, 81}},
                          Rungs{{15, 9}, {5, 27}, {1, 81}}, Rungs{{8, 27}, {2, 81}}, Rungs{{5, 81}}));
  EXPECT_THAT(hyperband_plan(3, 10, 3), ElementsAre(Rungs{{3, 3}, {1, 10}}, Rungs{{2, 10}}));
  EXPECT_THAT(hyperband_plan(1, 1, 3), ElementsAre(Rungs{{1, 1}}));
  const Epochs quarter = Epochs::of_visits(1, 4);
  EXPECT_THAT(hyperband_plan(quarter, 4, 4),
              ElementsAre(Rungs{{16, quarter}, {4, 1}, {1, 4}}, Rungs{{6, 1}, {1, 4}}, Rungs{{3, 4}}));
}

TEST(Hyperband, TrainsAsManyEpochsAsItsTableSays) {
  const auto searcher = make_searcher(halving(Method::hyperband, 0, 81), {range("x", Kind::uniform, 0, 1)}, 1);
  SearchWorld world([](const TrialSpec& trial, std::uint32_t) { return std::get<double>(trial.settings[0].value); }, 6,
                    3, 81);
  world.run(*searcher);
  EXPECT_TRUE(searcher->finished());
  EXPECT_EQ(world.epochs.size(), 81u + 34 + 15 + 8 + 5);
  std::map<Epochs, int> trials_of;
  for (const auto& [trial, epochs] : world.epochs) ++trials_of[epochs];
  EXPECT_EQ(trials_of[81], 1 + 1 + 1 + 2 + 5);
  EXPECT_EQ(trials_of[27], 3 - 1 + 3 - 1 + 5 - 1 + 8 - 2);
  EXPECT_EQ(trials_of[9], 9 - 3 + 11 - 3 + 15 - 5);
  EXPECT_EQ(trials_of[3], 27 - 9 + 34 - 11);
  EXPECT_EQ(trials_of[1], 81 - 27);
}

/// Brackets go on side by side, and still each compares what it would compare alone.
TEST(Hyperband, WhatItTrainsDoesNotDependOnTheOrderOfScores) {
  std::set<std::vector<std::string>> outcomes;
  for (std::uint64_t key = 0; key < 10; ++key) {
    const auto searcher = make_searcher(halving(Method::hyperband, 0, 9), {range("x", Kind::uniform, 0, 1)}, 1);
    SearchWorld world([](const TrialSpec& trial, std::uint32_t) { return std::get<double>(trial.settings[0].value); },
                      4, key, 9);
    world.run(*searcher);
    std::vector<std::string> trained;
    for (std::string order : world.orders()) trained.push_back(order.substr(3));
    std::sort(trained.begin(), trained.end());
    outcomes.insert(trained);
  }
  EXPECT_EQ(outcomes.size(), 1u);
}

TEST(Hyperband, RefusesTooMuch) {
  EXPECT_THAT(refusal(halving(Method::hyperband, 0, 1'000'000, 2), {}), HasSubstr("raise search.min_epochs"));
}

}  // namespace
}  // namespace hopyard
