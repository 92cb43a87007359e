#include "select/rigor_leaders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "select/rigor_draws.h"

namespace hopyard::rigor {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Right on examples begin … end − 1 of `examples`.
Contestant right_on(const std::string& id, std::size_t begin, std::size_t end, std::size_t examples) {
  Contestant contestant{id, {std::vector<double>(examples)}};
  std::fill(contestant.runs[0].begin() + static_cast<std::ptrdiff_t>(begin),
            contestant.runs[0].begin() + static_cast<std::ptrdiff_t>(end), 1);
  return contestant;
}

TEST(Leader, SingleRunsThatAreRightOrWrongGetMcNemar) {
  // Against "best": "close" misses 5 examples, "far" 20 of those that "best" has right.
  const std::vector<Contestant> contestants{right_on("far", 0, 70, 100), right_on("best", 0, 90, 100),
                                            right_on("close", 0, 85, 100)};
  const auto verdict = judge_leader(contestants, {});
  EXPECT_EQ(verdict.leader, "best");
  EXPECT_THAT(verdict.method, HasSubstr("McNemar"));
  EXPECT_THAT(verdict.method, HasSubstr("Holm"));
  EXPECT_THAT(verdict.citation, HasSubstr("Fagerland"));
  EXPECT_THAT(verdict.citation, HasSubstr("Holm"));
  ASSERT_EQ(verdict.others.size(), 2u);
  const auto &far = verdict.others[0], &close = verdict.others[1];
  EXPECT_EQ(far.id, "far");
  EXPECT_NEAR(far.behind, 0.2, 1e-12);
  EXPECT_NEAR(far.p, std::pow(0.5, 20), 1e-15);  // 2 · ½^20 − ½^20
  EXPECT_NEAR(far.corrected_p, 2 * std::pow(0.5, 20), 1e-15);
  EXPECT_TRUE(far.told_apart);
  EXPECT_NEAR(close.p, std::pow(0.5, 5), 1e-12);
  EXPECT_NEAR(close.corrected_p, std::pow(0.5, 5), 1e-12);  // the last of Holm's steps
  EXPECT_TRUE(close.told_apart);
  EXPECT_THAT(verdict.best_set, ElementsAre("best"));
}

TEST(Leader, AllPairsCorrectForTheChoiceOfTheLeader) {
  const std::vector<Contestant> contestants{right_on("far", 0, 70, 100), right_on("best", 0, 90, 100),
                                            right_on("close", 0, 85, 100)};
  const auto verdict = judge_leader(contestants, {.family = Family::all_pairs});
  EXPECT_NEAR(verdict.others[0].corrected_p, 3 * std::pow(0.5, 20), 1e-15);
  EXPECT_NEAR(verdict.others[1].corrected_p, 2 * std::pow(0.5, 5), 1e-12);
  EXPECT_THAT(verdict.best_set, ElementsAre("best", "close"));
}

TEST(Leader, LossesGetTheBootstrapAndSmallerIsBetter) {
  KeyedStream stream(1);
  std::vector<Contestant> contestants{{"worse", {{}}}, {"good", {{}}}, {"as good", {{}}}};
  for (int i = 0; i < 400; ++i) {
    const double hardness = std::exp(normal_draw(stream));
    contestants[0].runs[0].push_back(hardness + 0.5 + 0.3 * normal_draw(stream));
    contestants[1].runs[0].push_back(hardness + 0.3 * normal_draw(stream));
    contestants[2].runs[0].push_back(contestants[1].runs[0].back() + (i % 2 == 0 ? 0.3 : -0.29));
  }
  const auto verdict = judge_leader(contestants, {.maximize = false, .resamples = 500});
  EXPECT_EQ(verdict.leader, "good");
  EXPECT_THAT(verdict.method, HasSubstr("paired bootstrap of examples,"));
  EXPECT_THAT(verdict.best_set, ElementsAre("good", "as good"));
  EXPECT_EQ(verdict.others[0].id, "worse");
  EXPECT_TRUE(verdict.others[0].told_apart);
  EXPECT_GT(verdict.others[0].behind, 0.3);
}

TEST(Leader, GroupsGetTheBootstrapOfRunsToo) {
  KeyedStream stream(2);
  std::vector<Contestant> contestants{{"a", {}}, {"b", {}}};
  for (auto& contestant : contestants)
    for (int run = 0; run < 3; ++run) contestant.runs.push_back(tosses(stream, contestant.id == "a" ? 0.9 : 0.5, 300));
  const auto verdict = judge_leader(contestants, {.resamples = 300});
  EXPECT_EQ(verdict.leader, "a");
  EXPECT_THAT(verdict.method, HasSubstr("examples and runs"));
  EXPECT_THAT(verdict.citation, HasSubstr("MultiBERTs"));
  EXPECT_TRUE(verdict.others[0].told_apart);
}

TEST(Leader, OneContestantLeadsAlone) {
  const auto verdict = judge_leader(std::vector{right_on("only", 0, 1, 2)}, {});
  EXPECT_EQ(verdict.leader, "only");
  EXPECT_TRUE(verdict.others.empty());
  EXPECT_THAT(verdict.best_set, ElementsAre("only"));
}

TEST(Leader, EqualContestantsAreAllBest) {
  const auto verdict = judge_leader(std::vector{right_on("a", 0, 5, 9), right_on("b", 0, 5, 9)}, {});
  EXPECT_THAT(verdict.best_set, ElementsAre("a", "b"));
  EXPECT_EQ(verdict.others[0].corrected_p, 1);
}

TEST(Leader, RefusesWhatCannotBeCompared) {
  EXPECT_THROW(judge_leader({}, {}), std::logic_error);
  EXPECT_THROW(judge_leader(std::vector<Contestant>{{"a", {}}}, {}), std::logic_error);
  EXPECT_THROW(judge_leader(std::vector{right_on("a", 0, 1, 2), right_on("b", 0, 1, 3)}, {}), std::logic_error);
}

/// How often any of ten equal trials is told apart from the one that happens to lead.
double false_differences(Family family) {
  constexpr int kExperiments = 2'000;
  KeyedStream stream(3);
  int any = 0;
  for (int experiment = 0; experiment < kExperiments; ++experiment) {
    std::vector<Contestant> contestants;
    for (int i = 0; i < 10; ++i) contestants.push_back({std::to_string(i), {tosses(stream, 0.8, 400)}});
    any += judge_leader(contestants, {.family = family}).best_set.size() < contestants.size();
  }
  return any / double{kExperiments};
}

TEST(Leader, AllPairsKeepTheLevelThoughTheLeaderIsALuckyOne) {
  EXPECT_LE(false_differences(Family::all_pairs), 0.05);
  // Counting the leader's comparisons alone is right for a leader named beforehand, not for the luckiest of ten.
  EXPECT_GT(false_differences(Family::leader_vs_others), 0.05);
}

}  // namespace
}  // namespace hopyard::rigor
