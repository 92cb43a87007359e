#include "hopper/open_shop.h"

#include <gmock/gmock.h>

#include <stdexcept>

#include "hopper/shop_fixture.h"

namespace hopyard {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// 2 trials of 2 s a visit on 2 workers with 2 partitions: partition p is on worker p.
OpenShop small_shop(std::uint32_t replication = 1, std::uint32_t lookahead = 0) {
  OpenShop shop(place_partitions(2, 2, replication), std::vector<ShopWorker>(2, {.lookahead = lookahead}));
  for (std::uint32_t rotation : {0u, 1u}) {
    ShopTrial trial;
    trial.rotation = rotation;
    trial.visit_s = 2;
    shop.add(trial);
  }
  return shop;
}

TEST(OpenShopTest, AVisitIsOnceAnEpochAndATrialInOneAtATime) {
  OpenShop shop = small_shop();
  const PlacedVisit first{0, 0, 0, 0, 0}, second{0, 0, 1, 1, 1};
  EXPECT_THROW(shop.begin(second), std::logic_error);           // not the next visit
  EXPECT_THROW(shop.begin({0, 1, 0, 0, 0}), std::logic_error);  // not the epoch
  EXPECT_THROW(shop.begin({0, 0, 0, 0, 1}), std::logic_error);  // no home
  EXPECT_THROW(shop.commit(first, {0}), std::logic_error);      // not begun
  shop.begin(first);
  EXPECT_THROW(shop.begin({0, 0, 0, 1, 1}), std::logic_error);  // in two at a time
  EXPECT_THROW(shop.begin({1, 0, 0, 0, 0}), std::logic_error);  // no place
  EXPECT_THROW(shop.commit(first, {}), std::logic_error);       // nobody holds it
  shop.trained(first);
  EXPECT_TRUE(shop.open(0, Place::train));
  EXPECT_FALSE(shop.idle().test(0));
  shop.commit(first, {0});
  EXPECT_THROW(shop.begin({0, 0, 1, 0, 0}), std::logic_error);  // that partition a second time
  shop.begin(second);
  shop.commit(second, {1});
  EXPECT_TRUE(shop.trial(0).done());
  EXPECT_FALSE(shop.idle().test(0));
}

/// As a trial of one group of rows has them.
TEST(OpenShopTest, ATrialMayVisitSomePartitionsAlone) {
  OpenShop shop(place_partitions(4, 2, 1), std::vector<ShopWorker>(2));
  ShopTrial trial;
  trial.epochs = 2;
  trial.rotation = 1;
  trial.own = {1, 2};
  shop.add(trial);
  EXPECT_EQ(shop.trial(0).visits_left(), 4u);
  EXPECT_FALSE(shop.wanting(0).test(0));
  std::vector<std::uint32_t> visited;
  while (!shop.trial(0).done()) {
    const OpenTrial& now = shop.trial(0);
    const std::uint32_t partition = now.next_in_order(), home = shop.homes(partition).front();
    EXPECT_THROW(shop.begin({0, now.epoch, now.visit, 3, shop.homes(3).front()}), std::logic_error);
    const PlacedVisit visit{0, now.epoch, now.visit, partition, home};
    shop.begin(visit);
    shop.commit(visit, {home});
    visited.push_back(partition);
  }
  EXPECT_THAT(visited, ElementsAre(2, 1, 1, 2));
  trial.visited = {3};
  EXPECT_THROW(shop.add(trial), std::logic_error);
  trial.own = {4};
  EXPECT_THROW(shop.add(trial), std::logic_error);
}

TEST(OpenShopTest, AnEpochBeginsWhenTheOneBeforeIsCommitted) {
  OpenShop shop = small_shop();
  shop.want(0, 2);
  EXPECT_EQ(shop.trial(0).visits_left(), 4u);
  for (const PlacedVisit& visit : {PlacedVisit{0, 0, 0, 0, 0}, PlacedVisit{0, 0, 1, 1, 1}}) {
    shop.begin(visit);
    EXPECT_THROW(shop.begin({0, 1, 0, 0, 0}), std::logic_error);
    shop.commit(visit, {visit.worker});
  }
  shop.begin({0, 1, 0, 0, 0});
  EXPECT_EQ(shop.trial(0).visits_left(), 2u);
}

TEST(OpenShopTest, ADeadWorkersVisitsAreGivenUp) {
  OpenShop shop = small_shop(2);
  const PlacedVisit first{0, 0, 0, 0, 0};
  shop.begin(first);
  EXPECT_THAT(shop.leave(0), ElementsAre(first));
  EXPECT_THROW(shop.leave(0), std::logic_error);
  EXPECT_TRUE(shop.idle().test(0));
  EXPECT_THROW(shop.begin(first), std::logic_error);  // on a dead worker
  shop.begin({0, 0, 0, 0, 1});
  shop.commit({0, 0, 0, 0, 1}, {1});
  shop.join(0);
  EXPECT_THROW(shop.join(0), std::logic_error);
  EXPECT_TRUE(shop.open(0, Place::train));
}

TEST(OpenShopTest, ATrialWhoseHoldersAreDeadWaitsForOne) {
  OpenShop shop = small_shop(2);
  const PlacedVisit first{0, 0, 0, 0, 0};
  shop.begin(first);
  shop.commit(first, {0});
  EXPECT_EQ(shop.source(0), 0u);
  shop.leave(0);
  EXPECT_FALSE(shop.idle().test(0));
  EXPECT_EQ(shop.source(0), std::nullopt);
  EXPECT_THAT(shop.stranded(), ElementsAre(0));
  EXPECT_TRUE(shop.idle().test(1));  // not trained yet: begins anywhere
  shop.join(0);
  EXPECT_TRUE(shop.idle().test(0));
  EXPECT_THAT(shop.stranded(), IsEmpty());
}

TEST(OpenShopTest, ATrialTakenUpHasOnlyTheRestToDo) {
  OpenShop shop(place_partitions(3, 1, 1), {{}});
  ShopTrial trial;
  trial.epochs = 2;
  trial.epoch = 1;
  trial.visited = {1, 2};
  trial.holders = {0};
  shop.add(trial);
  EXPECT_EQ(shop.trial(0).visits_left(), 1u);
  shop.begin({0, 1, 2, 0, 0});
  shop.commit({0, 1, 2, 0, 0}, {0});
  EXPECT_TRUE(shop.done());
  trial.visited = {1, 1};
  EXPECT_THROW(shop.add(trial), std::logic_error);
  trial.visited = {0, 1, 2};
  EXPECT_THROW(shop.add(trial), std::logic_error);
}

TEST(OpenShopTest, HeldTrialsBeginNothing) {
  OpenShop shop = small_shop();
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 0);
  shop.hold(0, true);
  EXPECT_THAT(dispatch(shop, *scheduler), ElementsAre(PlacedVisit{1, 0, 0, 1, 1}));
  EXPECT_THAT(dispatch(shop, *scheduler), IsEmpty());
  shop.hold(0, false);
  EXPECT_THAT(dispatch(shop, *scheduler), ElementsAre(PlacedVisit{0, 0, 0, 0, 0}));
}

TEST(OpenShopTest, QueuesAndPlaces) {
  OpenShop shop = small_shop(2, 1);
  shop.begin({0, 0, 0, 0, 0});
  EXPECT_FALSE(shop.open(0, Place::train));
  EXPECT_TRUE(shop.open(0, Place::fetch));
  EXPECT_EQ(shop.queue_s(0), 2);
  shop.begin({1, 0, 0, 1, 0});
  EXPECT_FALSE(shop.open(0, Place::fetch));
  EXPECT_EQ(shop.queue_s(0), 4);
  EXPECT_TRUE(shop.open_partitions(Place::train).test(0));  // worker 1 has it too
  shop.predict(0, 3);
  EXPECT_EQ(shop.queue_s(0), 5);
  shop.give_up({0, 0, 0, 0, 0});
  EXPECT_EQ(shop.queue_s(0), 2);
}

/// `teams` of two and as many trials alone, on 3 workers that have all of 2 partitions.
OpenShop team_shop(std::uint32_t teams, ShopWorker worker = {}, bool may_be_alone = false) {
  OpenShop shop(place_partitions(3, 3, 3), std::vector<ShopWorker>(3, worker));
  for (std::uint32_t trial = 0; trial < 2 * teams; ++trial) {
    ShopTrial comes;
    comes.visit_s = 2;
    if (trial < teams) comes.degree = 2;
    comes.may_be_alone = may_be_alone;
    shop.add(comes);
  }
  return shop;
}

PlacedVisit of_team(std::uint32_t trial, std::uint32_t leader, std::uint32_t other) {
  return {trial, 0, 0, 0, leader, {other}};
}

TEST(OpenShopTest, ATeamTakesAPlaceOfEachWorkerAndGivesThemBackTogether) {
  OpenShop shop = team_shop(1);
  EXPECT_THROW(shop.begin({0, 0, 0, 0, 0}), std::logic_error);          // alone
  EXPECT_THROW(shop.begin({0, 0, 0, 0, 0, {1, 2}}), std::logic_error);  // three
  EXPECT_THROW(shop.begin(of_team(0, 1, 1)), std::logic_error);         // one twice
  EXPECT_THROW(shop.begin({1, 0, 0, 0, 0, {1}}), std::logic_error);     // no team
  const PlacedVisit visit = of_team(0, 2, 0);
  shop.begin(visit);
  EXPECT_EQ(to_string(visit), "trial 0, epoch 0, visit 0: partition 0 on workers 2, 0");
  EXPECT_FALSE(shop.open(0, Place::train));
  EXPECT_TRUE(shop.open(1, Place::train));
  EXPECT_FALSE(shop.open(2, Place::train));
  EXPECT_EQ(shop.queue_s(0), 2);
  EXPECT_EQ(shop.queue_s(2), 2);
  shop.trained(visit);
  EXPECT_TRUE(shop.open(0, Place::train) && shop.open(2, Place::train));
  shop.commit(visit, {0, 2});
  EXPECT_EQ(shop.trial(0).visit, 1u);
}

TEST(OpenShopTest, WhicheverMemberDiesTheTeamsVisitIsGivenUp) {
  for (const std::uint32_t member : {0u, 1u}) {
    OpenShop shop = team_shop(1);
    shop.begin(of_team(0, 0, 1));
    EXPECT_THAT(shop.leave(member), ElementsAre(of_team(0, 0, 1)));
    EXPECT_TRUE(shop.open(1 - member, Place::train));
    EXPECT_TRUE(shop.is_idle(0));
    shop.begin(of_team(0, 1 - member, 2));
  }
}

/// Members wait for each other at every step.
TEST(OpenShopTest, AWorkerIsInOneTeamAtATime) {
  OpenShop shop = team_shop(2, {.slots = 2});
  shop.begin(of_team(0, 0, 1));
  EXPECT_THROW(shop.begin(of_team(1, 1, 2)), std::logic_error);
  EXPECT_TRUE(shop.open(1, Place::train));
  shop.begin({2, 0, 0, 0, 1});
}

TEST(OpenShopTest, ATeamFetchesNothingAhead) {
  OpenShop shop = team_shop(1, {.slots = 1, .lookahead = 1});
  shop.begin({1, 0, 0, 0, 0});
  EXPECT_TRUE(shop.open(0, Place::fetch));
  EXPECT_THROW(shop.begin(of_team(0, 0, 1)), std::logic_error);
}

TEST(OpenShopTest, WhereFewerHomesLiveATeamWaitsUnlessItsTrialMayBeAlone) {
  for (const bool may_be_alone : {false, true}) {
    OpenShop shop = team_shop(1, {}, may_be_alone);
    EXPECT_EQ(shop.team_size(0, 0), 2u);
    shop.leave(0);
    EXPECT_EQ(shop.team_size(0, 0), 2u);
    shop.leave(2);
    EXPECT_EQ(shop.team_size(0, 0), may_be_alone ? 1u : 0u);
    const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 0);
    shop.hold(1, true);
    const auto begun = dispatch(shop, *scheduler);
    if (may_be_alone)
      EXPECT_THAT(begun, ElementsAre(PlacedVisit{0, 0, 0, 0, 1}));
    else
      EXPECT_THAT(begun, IsEmpty());
    shop.leave(1);
    EXPECT_EQ(shop.team_size(0, 0), 0u);
  }
}

TEST(OpenShopTest, AClaimKeepsPlacesUntilItsTeamBeginsOrCannot) {
  OpenShop shop = team_shop(2);
  shop.begin({2, 0, 0, 0, 0});
  shop.claim(of_team(0, 0, 1));
  EXPECT_THROW(shop.claim(of_team(1, 1, 2)), std::logic_error);
  EXPECT_FALSE(shop.open(1, Place::train));
  EXPECT_FALSE(shop.open_to_team(1, 1));
  EXPECT_TRUE(shop.open_to_team(0, 1));
  EXPECT_TRUE(shop.open(2, Place::train));
  EXPECT_NE(describe(shop).find("places are kept for trial 0"), std::string::npos);
  shop.commit({2, 0, 0, 0, 0}, {0});
  EXPECT_FALSE(shop.open(0, Place::train));
  shop.begin(of_team(0, 0, 1));
  EXPECT_EQ(shop.claim(), std::nullopt);
  shop.commit(of_team(0, 0, 1), {0, 1});
  EXPECT_TRUE(shop.open(0, Place::train) && shop.open(1, Place::train));
  shop.claim(of_team(1, 1, 2));
  shop.leave(2);
  EXPECT_EQ(shop.claim(), std::nullopt);
  EXPECT_TRUE(shop.open(1, Place::train));
  shop.claim(of_team(1, 1, 0));
  shop.hold(1, true);
  EXPECT_EQ(shop.claim(), std::nullopt);
}

TEST(VisitSchedulerTest, ATeamTakesItsTurnAmongTrialsThatCameBefore) {
  OpenShop shop(place_partitions(2, 2, 2), std::vector<ShopWorker>(2));
  for (int i = 0; i < 3; ++i) shop.add({});
  ShopTrial team;
  team.degree = 2;
  const std::uint32_t number = shop.add(team);
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 0);
  const auto first = dispatch(shop, *scheduler);
  ASSERT_EQ(first.size(), 2u);  // two that were there before it
  EXPECT_EQ(shop.claim(), std::nullopt);
  shop.commit(first[0], {first[0].worker});
  const auto third = dispatch(shop, *scheduler);
  ASSERT_EQ(third.size(), 1u);  // the third
  shop.commit(first[1], {first[1].worker});
  EXPECT_THAT(dispatch(shop, *scheduler), IsEmpty());  // its turn: the place is kept
  EXPECT_EQ(shop.claim()->trial, number);
  shop.commit(third[0], {third[0].worker});
  const auto together = dispatch(shop, *scheduler);
  ASSERT_EQ(together.size(), 1u);
  EXPECT_EQ(together[0].size(), 2u);
}

TEST(OpenShopTest, IsPrintable) {
  OpenShop shop = small_shop();
  shop.begin({0, 0, 0, 0, 0});
  EXPECT_EQ(describe(shop),
            "worker 0: 1 of 1 + 0 places, speed 1, partitions 0\n"
            "worker 1: 0 of 1 + 0 places, speed 1, partitions 1\n"
            "trial 0: epoch 0 of 1, visit 0 of 2, 2 s each, held by, trains trial 0, epoch 0, visit 0: partition 0 on "
            "worker 0\n"
            "trial 1: epoch 0 of 1, visit 0 of 2, 2 s each, held by, idle\n");
}

TEST(VisitSchedulerTest, LookingAheadFetchesWhileOthersTrain) {
  for (const VisitSchedulerKind kind : kVisitSchedulerKinds) {
    OpenShop shop(place_partitions(2, 2, 1), std::vector<ShopWorker>(2, {.lookahead = 1}));
    for (int i = 0; i < 4; ++i) {
      ShopTrial trial;
      trial.rotation = static_cast<std::uint32_t>(i % 2);
      shop.add(trial);
    }
    const auto scheduler = make_visit_scheduler(kind, 3);
    EXPECT_EQ(dispatch(shop, *scheduler).size(), 4u) << to_string(kind);
    EXPECT_EQ(shop.occupied(0), 2u);
    EXPECT_EQ(shop.occupied(1), 2u);
  }
}

TEST(VisitSchedulerTest, PlacesThatTrainComeBeforePlacesThatFetch) {
  OpenShop shop(place_partitions(2, 2, 2), std::vector<ShopWorker>(2, {.lookahead = 3}));
  for (int i = 0; i < 2; ++i) shop.add({});
  dispatch(shop, *make_visit_scheduler(VisitSchedulerKind::lrtf, 0));
  EXPECT_EQ(shop.occupied(0), 1u);
  EXPECT_EQ(shop.occupied(1), 1u);
}

TEST(VisitSchedulerTest, AfterAVisitComesTheNextOfItsTrial) {
  OpenShop shop = small_shop();
  const PlacedVisit first{0, 0, 0, 0, 0}, second{0, 0, 1, 1, 1};
  shop.begin(first);
  for (const VisitSchedulerKind kind : kVisitSchedulerKinds) {
    const auto scheduler = make_visit_scheduler(kind, 0);
    EXPECT_EQ(scheduler->after(shop, first), second) << to_string(kind);
    EXPECT_THAT(replica_targets(shop, *scheduler, first, 2), ElementsAre(1));
    EXPECT_THAT(replica_targets(shop, *scheduler, first, 1), IsEmpty());
    EXPECT_THAT(replica_targets(shop, *scheduler, first, 9), ElementsAre(1));
  }
  shop.commit(first, {0});
  shop.begin(second);
  EXPECT_EQ(make_visit_scheduler(VisitSchedulerKind::seed, 0)->after(shop, second), std::nullopt);
}

TEST(VisitSchedulerTest, ReplicaAwareStaysWhereTheStateIs) {
  OpenShop shop(place_partitions(4, 2, 1), std::vector<ShopWorker>(2));
  shop.add({});
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::replica, 0);
  std::vector<std::uint32_t> workers;
  for (int i = 0; i < 4; ++i) {
    const auto begun = dispatch(shop, *scheduler);
    ASSERT_EQ(begun.size(), 1u);
    workers.push_back(begun[0].worker);
    shop.commit(begun[0], {begun[0].worker});
  }
  EXPECT_EQ(workers[0], workers[1]);
  EXPECT_EQ(workers[2], workers[3]);
}

TEST(VisitSchedulerTest, WordsAreReadAsTheyAreWritten) {
  for (const VisitSchedulerKind kind : kVisitSchedulerKinds) EXPECT_EQ(parse_visit_scheduler(to_string(kind)), kind);
  EXPECT_EQ(parse_visit_scheduler("fastest"), std::nullopt);
}

}  // namespace
}  // namespace hopyard
