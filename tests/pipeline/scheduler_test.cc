#include "pipeline/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "base/rng.h"

namespace hopyard {
namespace {

using testing::ElementsAre;

bool any(std::uint32_t) { return true; }

/// The order in which trials leave when each pick is removed.
std::vector<std::uint32_t> drain(Scheduler& scheduler) {
  std::vector<std::uint32_t> order;
  while (auto trial = scheduler.pick(any)) {
    order.push_back(*trial);
    scheduler.remove(*trial);
  }
  return order;
}

std::vector<std::uint32_t> drain(SchedulerKind kind, const std::vector<IdleTrial>& trials, std::uint64_t seed = 1) {
  const auto scheduler = make_scheduler(kind, seed);
  for (const IdleTrial& trial : trials) scheduler->add(trial);
  return drain(*scheduler);
}

TEST(Scheduler, EveryKindHasAWordOfItsOwn) {
  std::set<std::string> words;
  for (SchedulerKind kind : kSchedulerKinds) words.insert(to_string(kind));
  EXPECT_EQ(words.size(), std::size(kSchedulerKinds));
  EXPECT_FALSE(words.contains("unknown"));
}

TEST(Scheduler, LrtfTakesTheLongestRemainingTime) {
  EXPECT_THAT(drain(SchedulerKind::lrtf, {{3, 5, 9}, {1, 7, 7}, {2, 7, 8}, {0, 1, 99}}), ElementsAre(1, 2, 3, 0));
}

TEST(Scheduler, OldestTakesTheVisitThatBeganFirst) {
  EXPECT_THAT(drain(SchedulerKind::oldest, {{3, 5, 9, 2}, {1, 7, 7, 3}, {2, 7, 8, 1}, {0, 1, 99, 4}}),
              ElementsAre(2, 3, 1, 0));
}

TEST(Scheduler, LptTakesTheLongestTotal) {
  EXPECT_THAT(drain(SchedulerKind::lpt, {{3, 5, 9}, {1, 7, 7}, {2, 7, 9}, {0, 1, 99}}), ElementsAre(0, 2, 3, 1));
}

TEST(Scheduler, FifoTakesTheOrderOfBecomingIdle) {
  const auto scheduler = make_scheduler(SchedulerKind::fifo, 0);
  for (std::uint32_t trial : {4u, 2u, 3u}) scheduler->add({trial});
  scheduler->remove(4);
  scheduler->add({4});
  EXPECT_THAT(drain(*scheduler), ElementsAre(2, 3, 4));
}

TEST(Scheduler, RoundRobinGoesOnAfterTheLastPick) {
  const auto scheduler = make_scheduler(SchedulerKind::round_robin, 0);
  for (std::uint32_t trial = 0; trial < 4; ++trial) scheduler->add({trial});
  std::vector<std::uint32_t> picks;
  for (int i = 0; i < 6; ++i) picks.push_back(*scheduler->pick(any));
  EXPECT_THAT(picks, ElementsAre(0, 1, 2, 3, 0, 1));
  scheduler->remove(2);
  EXPECT_EQ(scheduler->pick(any), 3u);
  scheduler->remove(0);
  EXPECT_EQ(scheduler->pick(any), 1u);
}

TEST(Scheduler, RandomFollowsFromItsSeed) {
  std::vector<IdleTrial> trials;
  for (std::uint32_t i = 0; i < 100; ++i) trials.push_back({i});
  EXPECT_EQ(drain(SchedulerKind::random, trials, 5), drain(SchedulerKind::random, trials, 5));
  EXPECT_NE(drain(SchedulerKind::random, trials, 5), drain(SchedulerKind::random, trials, 6));
}

TEST(Scheduler, PickAsksInOrderOfPreferenceAndRemovesNothing) {
  const auto scheduler = make_scheduler(SchedulerKind::lrtf, 0);
  for (std::uint32_t trial = 0; trial < 10; ++trial) scheduler->add({trial, static_cast<double>(trial)});
  std::vector<std::uint32_t> asked;
  const auto accepts = [&](std::uint32_t trial) {
    asked.push_back(trial);
    return trial == 6;
  };
  EXPECT_EQ(scheduler->pick(accepts), 6u);
  EXPECT_THAT(asked, ElementsAre(9, 8, 7, 6));
  EXPECT_EQ(scheduler->size(), 10u);
}

TEST(Scheduler, PickGivesUpAfterItsAttempts) {
  for (SchedulerKind kind : kSchedulerKinds) {
    const auto scheduler = make_scheduler(kind, 0);
    for (std::uint32_t trial = 0; trial < 200; ++trial) scheduler->add({trial, 1, 1});
    int asked = 0;
    EXPECT_FALSE(scheduler->pick([&](std::uint32_t) { return ++asked, false; }));
    EXPECT_EQ(asked, kPickAttempts) << to_string(kind);
  }
}

TEST(Scheduler, AFewTrialsAreAskedOnceEach) {
  for (SchedulerKind kind : kSchedulerKinds) {
    const auto scheduler = make_scheduler(kind, 0);
    for (std::uint32_t trial = 0; trial < 3; ++trial) scheduler->add({trial, 1, 1});
    EXPECT_EQ(scheduler->pick([](std::uint32_t trial) { return trial == 1; }), 1u);
    std::map<std::uint32_t, int> asked;
    scheduler->pick([&](std::uint32_t trial) { return ++asked[trial], false; });
    EXPECT_EQ(asked, (std::map<std::uint32_t, int>{{0, 1}, {1, 1}, {2, 1}})) << to_string(kind);
  }
}

TEST(Scheduler, EmptyAndUnknownAreHarmlessTwiceIsNot) {
  for (SchedulerKind kind : kSchedulerKinds) {
    const auto scheduler = make_scheduler(kind, 0);
    EXPECT_FALSE(scheduler->pick(any));
    scheduler->remove(7);
    scheduler->add({7, 1, 1});
    EXPECT_THROW(scheduler->add({7, 2, 2}), std::logic_error);
    EXPECT_EQ(scheduler->size(), 1u);
  }
  EXPECT_THROW(make_scheduler(SchedulerKind::lrtf, 0)->add({0, std::nan("")}), std::logic_error);
}

TEST(Scheduler, LrtfAgreesWithASortOverManyRandomOperations) {
  const auto scheduler = make_scheduler(SchedulerKind::lrtf, 0);
  std::map<std::uint32_t, double> model;
  KeyedStream random(7);
  for (int i = 0; i < 20'000; ++i) {
    const auto trial = static_cast<std::uint32_t>(random.below(50));
    if (model.contains(trial)) {
      scheduler->remove(trial);
      model.erase(trial);
    } else {
      const double remaining = static_cast<double>(random.below(20));
      scheduler->add({trial, remaining});
      model[trial] = remaining;
    }
    std::optional<std::uint32_t> best;
    for (const auto& [number, remaining] : model) {
      if (!best || remaining > model[*best]) best = number;
    }
    ASSERT_EQ(scheduler->pick(any), best);
  }
}

}  // namespace
}  // namespace hopyard
