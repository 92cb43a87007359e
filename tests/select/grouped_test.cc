// Groups against what was worked out by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "fakes/failure_of.h"
#include "select/search_world.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using Method = SearchSpec::Method;
using namespace fakes;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Asks for what it is given to ask for, and writes down what it is told.
class ScriptedSearcher final : public Searcher {
 public:
  explicit ScriptedSearcher(bool reacts = true) : reacts_(reacts) {}
  std::optional<TrialOrder> ask() override {
    if (orders.empty()) return std::nullopt;
    TrialOrder order = orders.front();
    orders.pop_front();
    return order;
  }
  void tell(const TrialScore& score) override {
    told.push_back(text::cat(score.trial, "@", score.epoch, "=", score.metric));
  }
  void tell_end(const std::string& trial, TrialState state) override {
    told.push_back(text::cat(trial, " ", to_string(state)));
  }
  std::vector<TrialStop> take_stops() override { return std::exchange(stops, {}); }
  bool finished() const override { return orders.empty(); }
  bool reacts() const override { return reacts_; }

  std::deque<TrialOrder> orders;
  std::vector<TrialStop> stops;
  std::vector<std::string> told;

 private:
  const bool reacts_;
};

TrialOrder order(const std::string& id, std::optional<std::uint32_t> until, std::optional<Lineage> lineage = {}) {
  TrialSpec spec;
  spec.id = id;
  spec.seed = 77;
  spec.lineage = std::move(lineage);
  return {spec, until};
}

/// Groups over a script, with the words of what happens.
class GroupedTest : public ::testing::Test {
 protected:
  void make(std::uint32_t seeds, std::uint32_t resamples = 0, bool reacts = true) {
    SearchSpec spec;
    spec.seeds = seeds;
    spec.resamples = resamples;
    make(spec, reacts);
  }
  void make(const SearchSpec& spec, bool reacts = true) {
    auto script = std::make_unique<ScriptedSearcher>(reacts);
    script_ = script.get();
    grouped_ = make_grouped(std::move(script), spec);
  }
  std::vector<std::string> asks() {
    std::vector<std::string> all;
    while (const auto one = grouped_->ask()) all.push_back(describe_order(*one));
    return all;
  }
  void tell(const std::string& trial, std::uint32_t epoch, double metric) {
    grouped_->tell({trial, epoch, 0, 0, metric, ""});
  }
  std::vector<std::string> stops() {
    std::vector<std::string> all;
    for (const auto& stop : grouped_->take_stops()) all.push_back(stop.trial + ": " + stop.reason);
    return all;
  }
  std::vector<std::string> told() { return std::exchange(script_->told, {}); }

  ScriptedSearcher* script_ = nullptr;
  std::unique_ptr<Searcher> grouped_;
};

TEST_F(GroupedTest, ATrialBecomesItsMembers) {
  make(2, 2);
  script_->orders = {order("t0", 3u), order("t1", std::nullopt)};
  std::vector<TrialOrder> all;
  while (auto one = grouped_->ask()) all.push_back(*one);
  ASSERT_EQ(all.size(), 8u);
  EXPECT_EQ(all[0].trial.id, "t0.s0r0");
  EXPECT_EQ(all[1].trial.replicate, (Replicate{"t0", 0, 1}));
  EXPECT_EQ(all[2].trial.id, "t0.s1r0");
  EXPECT_EQ(all[3].until_epoch, 3u);
  EXPECT_EQ(all[7].trial.id, "t1.s1r1");
  EXPECT_EQ(all[7].until_epoch, std::nullopt);
  for (std::uint32_t i = 0; i < 8; ++i) EXPECT_EQ(all[i].trial.index, i);
  EXPECT_EQ(all[0].trial.seed, 77u) << "of seed number 0, the one that a plain trial has";
  EXPECT_EQ(all[1].trial.seed, 77u) << "a resample changes the rows alone";
  EXPECT_NE(all[2].trial.seed, 77u);
  EXPECT_EQ(all[2].trial.seed, all[6].trial.seed) << "it follows from settings and number";
  EXPECT_TRUE(grouped_->finished());
}

TEST_F(GroupedTest, NamesSayWhatDiffers) {
  for (const auto& [seeds, resamples, last] :
       {std::tuple{3u, 0u, "t0.s2"}, {1u, 2u, "t0.r1"}, {12u, 0u, "t0.s11"}, {2u, 11u, "t0.s1r10"}}) {
    make(seeds, resamples);
    script_->orders = {order("t0", 1u)};
    const auto all = asks();
    EXPECT_EQ(all.back(), std::string(last) + "@1");
    EXPECT_EQ(all.size(), seeds * std::max(1u, resamples));
  }
  make(12);
  script_->orders = {order("t0", 1u)};
  EXPECT_EQ(asks().front(), "t0.s00@1");
}

TEST_F(GroupedTest, TheMeanIsToldWhenAllHaveToldTheirs) {
  make(3);
  script_->orders = {order("t0", 2u)};
  asks();
  tell("t0.s2", 1, 6);
  tell("t0.s0", 1, 1);
  tell("t0.s0", 2, 10);
  EXPECT_THAT(told(), IsEmpty());
  tell("t0.s1", 1, 2);
  EXPECT_THAT(told(), ElementsAre("t0@1=3"));
  tell("t0.s1", 2, 20);
  tell("t0.s2", 2, 60);
  EXPECT_THAT(told(), ElementsAre("t0@2=30"));
  script_->orders = {order("t0", 4u)};
  EXPECT_THAT(asks(), ElementsAre("t0.s0@4", "t0.s1@4", "t0.s2@4"));
}

TEST_F(GroupedTest, TheBitsOfAMeanDoNotDependOnWhoCameFirst) {
  const double metrics[] = {0.1, 1e16, -1e16};
  std::set<std::string> means;
  for (const auto& first : {std::vector{0, 1, 2}, {2, 1, 0}, {1, 0, 2}}) {
    make(3);
    script_->orders = {order("t0", 1u)};
    asks();
    for (const int member : first) tell(text::cat("t0.s", member), 1, metrics[member]);
    means.insert(told().at(0));
  }
  EXPECT_EQ(means.size(), 1u);
}

TEST_F(GroupedTest, AMetricThatIsNotFiniteMakesTheMeanSo) {
  make(2);
  script_->orders = {order("t0", 1u)};
  asks();
  tell("t0.s0", 1, std::numeric_limits<double>::infinity());
  tell("t0.s1", 1, 1);
  EXPECT_THAT(told(), ElementsAre("t0@1=inf"));
}

TEST_F(GroupedTest, TheGroupEndsWithItsLastMember) {
  make(2);
  script_->orders = {order("t0", std::nullopt)};
  asks();
  tell("t0.s0", 1, 1);
  grouped_->tell_end("t0.s0", TrialState::finished);
  tell("t0.s1", 1, 3);
  EXPECT_THAT(told(), ElementsAre("t0@1=2"));
  grouped_->tell_end("t0.s1", TrialState::finished);
  EXPECT_THAT(told(), ElementsAre("t0 finished"));
}

TEST_F(GroupedTest, AMemberThatFailsMakesItsGroupFailAtOnce) {
  make(4);
  script_->orders = {order("t0", 1u)};
  asks();
  for (int s = 0; s < 4; ++s) tell(text::cat("t0.s", s), 1, s);
  script_->orders = {order("t0", 3u), order("t1", 1u)};
  for (const char* one : {"t0.s0@3", "t0.s1@3"}) EXPECT_EQ(describe_order(*grouped_->ask()), one);
  told();
  tell("t0.s1", 2, 5);
  grouped_->tell_end("t0.s0", TrialState::failed);
  EXPECT_THAT(told(), ElementsAre("t0 failed"));
  EXPECT_THAT(stops(), ElementsAre("t0.s2: its group failed with t0.s0", "t0.s3: its group failed with t0.s0"))
      << "which had paused and are not asked for any more";
  EXPECT_EQ(grouped_->ask()->trial.id, "t1.s0");
  EXPECT_THAT(stops(), IsEmpty()) << "t0.s1 is under way";
  tell("t0.s1", 3, 5);
  EXPECT_THAT(stops(), ElementsAre("t0.s1: its group failed with t0.s0"));
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(GroupedTest, MembersThatWereNotAskedForLeaveNoGapInTheNumbers) {
  make(3);
  script_->orders = {order("t0", 1u), order("t1", 1u)};
  grouped_->ask();
  grouped_->tell_end("t0.s0", TrialState::failed);
  const auto next = grouped_->ask();
  EXPECT_EQ(next->trial.id, "t1.s0");
  EXPECT_EQ(next->trial.index, 1u);
  EXPECT_THAT(stops(), IsEmpty());
}

TEST_F(GroupedTest, WithoutReactingItsFellowsTrainOn) {
  make(2, 0, false);
  script_->orders = {order("t0", std::nullopt)};
  grouped_->ask();
  grouped_->tell_end("t0.s0", TrialState::failed);
  EXPECT_EQ(grouped_->ask()->trial.id, "t0.s1");
  tell("t0.s1", 1, 5);
  EXPECT_THAT(told(), IsEmpty());
  grouped_->tell_end("t0.s1", TrialState::finished);
  EXPECT_THAT(told(), ElementsAre("t0 failed"));
}

TEST_F(GroupedTest, AMemberThatSomebodyStoppedLeavesTheMean) {
  make(3);
  script_->orders = {order("t0", 2u)};
  asks();
  tell("t0.s0", 1, 1);
  tell("t0.s1", 1, 3);
  grouped_->tell_end("t0.s2", TrialState::stopped);
  EXPECT_THAT(told(), ElementsAre("t0@1=2"));
  tell("t0.s0", 2, 5);
  grouped_->tell_end("t0.s1", TrialState::stopped);
  EXPECT_THAT(told(), ElementsAre("t0@2=5"));
  script_->orders = {order("t0", 4u)};
  EXPECT_THAT(asks(), ElementsAre("t0.s0@4"));
  grouped_->tell_end("t0.s0", TrialState::stopped);
  EXPECT_THAT(told(), ElementsAre("t0 stopped"));
}

TEST_F(GroupedTest, AStopIsForAllMembers) {
  make(2);
  script_->orders = {order("t0", 1u)};
  asks();
  tell("t0.s0", 1, 1);
  tell("t0.s1", 1, 2);
  script_->stops = {{"t0", "place 3 of 3"}};
  EXPECT_THAT(stops(), ElementsAre("t0.s0: place 3 of 3", "t0.s1: place 3 of 3"));
}

TEST_F(GroupedTest, ClonesBeginMemberByMember) {
  make(3);
  script_->orders = {order("t0", 2u)};
  asks();
  for (int s = 0; s < 3; ++s)
    for (std::uint32_t epoch = 1; epoch <= 2; ++epoch) tell(text::cat("t0.s", s), epoch, s);
  grouped_->tell_end("t0.s1", TrialState::stopped);
  script_->orders = {order("t1", 4u, Lineage{"t0", 2}), order("t0", 4u)};
  EXPECT_THAT(asks(), ElementsAre("t1.s0<t0.s0+2@4", "t1.s2<t0.s2+2@4", "t0.s0@4", "t0.s2@4"));
  tell("t1.s0", 3, 1);
  tell("t1.s2", 3, 2);
  EXPECT_THAT(told(), testing::Contains("t1@3=1.5"));
}

SearchSpec over_rows(std::vector<RowGroup> groups, const std::string& metric = "valid/accuracy") {
  SearchSpec spec;
  spec.metric = metric;
  spec.row_groups = std::move(groups);
  return spec;
}

TEST_F(GroupedTest, EachGroupOfRowsIsAMember) {
  SearchSpec spec = over_rows({{-3, 10, 1}, {5, 10, 1}, {40, 10, 1}});
  spec.seeds = 2;
  make(spec);
  EXPECT_EQ(members_of_group(spec), 6u);
  EXPECT_EQ(runs_of_group(spec), 2u);
  script_->orders = {order("t0", 2u)};
  std::vector<TrialOrder> all;
  while (auto one = grouped_->ask()) all.push_back(*one);
  std::vector<std::string> ids;
  for (const auto& one : all) ids.push_back(one.trial.id);
  EXPECT_THAT(ids, ElementsAre("t0.s0g-3", "t0.s0g05", "t0.s0g40", "t0.s1g-3", "t0.s1g05", "t0.s1g40"));
  EXPECT_EQ(all[4].trial.replicate, (Replicate{"t0", 1, std::nullopt, 5}));
  EXPECT_EQ(all[0].trial.seed, 77u) << "other rows are no other seed";
  EXPECT_EQ(all[2].trial.seed, 77u);
  EXPECT_NE(all[3].trial.seed, 77u);
}

TEST_F(GroupedTest, ARunOverGroupsOfRowsScoresByRows) {
  SearchSpec spec = over_rows({{0, 10, 1}, {1, 10, 3}});
  spec.seeds = 2;
  make(spec);
  script_->orders = {order("t0", 1u)};
  asks();
  tell("t0.s0g0", 1, 1);
  tell("t0.s0g1", 1, 0);
  tell("t0.s1g1", 1, 1);
  EXPECT_THAT(told(), IsEmpty());
  tell("t0.s1g0", 1, 0);
  EXPECT_THAT(told(), ElementsAre("t0@1=0.5")) << "of 1/4 and 3/4";
}

TEST_F(GroupedTest, AGroupOfRowsThatSomebodyStoppedLeavesTheScore) {
  make(over_rows({{0, 10, 1}, {1, 10, 3}, {2, 10, 4}}));
  script_->orders = {order("t0", 1u)};
  asks();
  tell("t0.g0", 1, 8);
  grouped_->tell_end("t0.g2", TrialState::stopped);
  tell("t0.g1", 1, 4);
  EXPECT_THAT(told(), ElementsAre("t0@1=5"));
}

TEST_F(GroupedTest, ClonesBeginWithTheirGroupOfRows) {
  make(over_rows({{0, 10, 1}, {1, 10, 3}}));
  script_->orders = {order("t0", 1u), order("t1", 2u, Lineage{"t0", 1})};
  std::vector<TrialOrder> all;
  while (auto one = grouped_->ask()) all.push_back(*one);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[3].trial.lineage, (Lineage{"t0.g1", 1}));
}

TEST(OverallMetric, IsTheMetricOverAllRows) {
  const std::vector<RowsScore> groups{{0.5, 10}, {1, 30}};
  EXPECT_DOUBLE_EQ(overall_metric("valid/accuracy", groups), 35.0 / 40);
  EXPECT_DOUBLE_EQ(overall_metric("valid/mse", groups), 35.0 / 40);
  const std::vector<RowsScore> perplexities{{std::exp(1.0), 10}, {std::exp(3.0), 30}};
  EXPECT_DOUBLE_EQ(overall_metric("valid/perplexity", perplexities), std::exp(100.0 / 40));
  EXPECT_EQ(overall_metric("valid/perplexity", std::vector<RowsScore>{{0.1, 7}}), 0.1);
}

TEST(OverallMetric, TooManyGroupsOfRowsAreRefused) {
  SearchSpec spec = over_rows(std::vector<RowGroup>(501));
  spec.seeds = 2;
  EXPECT_THAT(failure_of(ExitCode::usage, [&] { make_searcher(spec, {}, 0); }), HasSubstr("501 groups of rows"));
}

TEST_F(GroupedTest, WhatComesOutOfOrderIsRefused) {
  make(2);
  script_->orders = {order("t0", 2u)};
  grouped_->ask();
  const auto said = [](const auto& call) { return failure_of(ExitCode::usage, call); };
  EXPECT_THAT(said([&] { tell("t0.s1", 1, 1); }), HasSubstr("'t0.s1', which it never asked for"));
  EXPECT_THAT(said([&] { tell("t0", 1, 1); }), HasSubstr("'t0', which it never asked for"));
  EXPECT_THAT(said([&] { tell("t0.s0", 3, 1); }), HasSubstr("t0.s0 at epoch 3 after one at epoch 0"));
  tell("t0.s0", 2, 1);
  EXPECT_THAT(said([&] { tell("t0.s0", 2, 1); }), HasSubstr("at epoch 2 after one at epoch 2"));
  grouped_->tell_end("t0.s0", TrialState::stopped);
  EXPECT_THAT(said([&] { tell("t0.s0", 3, 1); }), HasSubstr("which has ended"));
  EXPECT_THAT(said([&] { grouped_->tell_end("t0.s0", TrialState::stopped); }), HasSubstr("which has ended"));
}

TEST(Groups, OfOneAreNone) {
  SearchSpec spec = search_spec(Method::grid, 0);
  const std::vector<Dimension> space{listed("lr", {0.1, 0.2})};
  const auto searcher = make_searcher(spec, space, 5);
  const auto first = searcher->ask();
  EXPECT_EQ(first->trial.id, "t00");
  EXPECT_EQ(first->trial.replicate, std::nullopt);
  EXPECT_EQ(group_of(first->trial), "t00");
  spec.seeds = 2;
  const auto grouped = make_searcher(spec, space, 5);
  EXPECT_EQ(grouped->ask()->trial.seed, first->trial.seed);
  spec.seeds = 11;
  spec.resamples = 100;
  EXPECT_THAT(refusal(spec, space), HasSubstr("at most 1000 members"));
}

/// The best single run is of the recipe that is worse on average.
TEST(Groups, TheBestMeanIsPromoted) {
  SearchSpec spec = search_spec(Method::successive_halving, 3, 3);
  spec.seeds = 2;
  const auto searcher = make_searcher(spec, {range("x", Kind::uniform, 0, 1)}, 5);
  const auto metric = [](const TrialSpec& trial, std::uint32_t) {
    if (trial.replicate->group == "t00") return trial.replicate->seed == 0 ? 0.0 : 10.0;
    return trial.replicate->group == "t01" ? 3.0 : 4.0;
  };
  SearchWorld world(metric, 3, 1, 3);
  world.run(*searcher);
  EXPECT_EQ(world.epochs,
            (std::map<std::string, Epochs>{
                {"t00.s0", 1}, {"t00.s1", 1}, {"t01.s0", 3}, {"t01.s1", 3}, {"t02.s0", 1}, {"t02.s1", 1}}));
  for (const auto& stop : world.stops)
    EXPECT_THAT(stop.reason, HasSubstr(stop.trial.starts_with("t00") ? "place 3 of 3" : "place 2 of 3"));
  EXPECT_EQ(epochs_expected(spec, 6), (std::vector<Epochs>{3, 3, 1, 1, 1, 1}));
}

TEST(Groups, PopulationsCloneGroups) {
  SearchSpec spec = search_spec(Method::pbt, 4, 4);
  spec.perturbation_interval = 2;
  spec.quantile_fraction = 0.25;
  spec.resamples = 2;
  const auto searcher = make_searcher(spec, {range("x", Kind::uniform, 0, 1)}, 5);
  const auto metric = [](const TrialSpec& trial, std::uint32_t) { return static_cast<double>(trial.index / 2); };
  SearchWorld world(metric, 8, 1, 4);
  world.run(*searcher);
  std::vector<std::string> clones;
  for (const auto& event : world.events)
    if (const auto* one = std::get_if<TrialOrder>(&event); one != nullptr && one->trial.lineage)
      clones.push_back(text::cat(one->trial.id, "<", one->trial.lineage->parent));
  EXPECT_THAT(clones, ElementsAre("t04.r0<t00.r0", "t04.r1<t00.r1"));
  EXPECT_EQ(clones_expected(spec), 2u);
}

}  // namespace
}  // namespace hopyard
