#include "transport/liveness.h"

#include <gtest/gtest.h>

#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using Kind = LifeChange::Kind;
using Changes = std::vector<LifeChange>;
const WorkerId kFirst{1, 10}, kSecond{2, 11};
const LivenessBounds kBounds{.beat_s = 0.1, .silent_s = 0.3, .dead_s = 0.8};

TEST(Liveness, SilentThenDeadThenForgotten) {
  LivenessWatch watch(kBounds);
  watch.add(kFirst);
  watch.add(kSecond);
  std::vector<std::pair<double, Changes>> seen;
  for (int i = 0; i <= 20; ++i) {
    watch.heard(kSecond);
    const auto changes = watch.step(100 + i * 0.1);
    if (!changes.empty()) seen.push_back({i * 0.1, changes});
  }
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_NEAR(seen[0].first, 0.3, 0.11);
  EXPECT_EQ(seen[0].second, (Changes{{kFirst, Kind::silent}}));
  EXPECT_NEAR(seen[1].first, 0.8, 0.11);
  EXPECT_EQ(seen[1].second, (Changes{{kFirst, Kind::dead}}));
}

TEST(Liveness, ABeatInTimeWakesTheSilent) {
  LivenessWatch watch(kBounds);
  watch.add(kFirst);
  watch.step(0);
  watch.step(0.2);
  EXPECT_EQ(watch.step(0.4), (Changes{{kFirst, Kind::silent}}));
  watch.heard(kFirst);
  EXPECT_EQ(watch.step(0.5), (Changes{{kFirst, Kind::awake}}));
}

TEST(Liveness, AWatcherThatWasPausedBuriesNobody) {
  LivenessWatch watch(kBounds);
  watch.add(kFirst);
  watch.step(0);
  EXPECT_EQ(watch.step(3600), Changes{});
  watch.heard(kFirst);
  EXPECT_EQ(watch.step(3600.1), Changes{});
}

TEST(Liveness, TheRemovedAreNotMissed) {
  LivenessWatch watch(kBounds);
  watch.add(kFirst);
  watch.remove(kFirst);
  watch.heard(kFirst);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(watch.step(i * 0.1), Changes{});
}

TEST(Liveness, BoundsThatContradictEachOtherAreASentence) {
  EXPECT_NE(fakes::failure_of(ExitCode::usage, [] { LivenessWatch({.beat_s = 1, .silent_s = 0.5, .dead_s = 2}); }), "");
}

}  // namespace
}  // namespace hopyard
