#include "hopper/hopper_simulator.h"

#include <gmock/gmock.h>

#include <map>
#include <memory>

#include "base/rng.h"
#include "base/text.h"
#include "fakes/drawn_runs.h"
#include "hopper/shop_fixture.h"

namespace hopyard {
namespace {

using Orders = std::map<std::uint32_t, std::vector<std::uint32_t>>;

/// The partitions of each trial, in the order of its visits.
Orders orders(const HopperSimResult& result) {
  Orders found;
  for (const SimVisit& done : result.visits) found[done.visit.trial].push_back(done.visit.partition);
  return found;
}

TEST(HopperSimulatorTest, CerebroFig5) {
  const double epochs_s[] = {6, 3, 3, 3, 6};
  const auto spec = fakes::cluster(epochs_s, 3, 3);
  const auto result = simulate_hopper(spec, *make_visit_scheduler(VisitSchedulerKind::lrtf, 0));
  EXPECT_EQ(result.makespan_s, 7);
  EXPECT_EQ(exactly_once_fault(spec, result), "");
}

TEST(HopperSimulatorTest, CerebroFig5TaskParallel) {
  const double epochs_s[] = {6, 3, 3, 3, 6};
  auto spec = fakes::cluster(epochs_s, 3, 3, 3, 2);
  spec.state_bytes = 10;
  const auto result = simulate_hopper(spec, *make_visit_scheduler(VisitSchedulerKind::task, 0));
  EXPECT_EQ(result.makespan_s, 2 * 9);
  EXPECT_EQ(result.makespan_s, 2 * task_parallel_makespan_s(epochs_s, 3));
  EXPECT_EQ(exactly_once_fault(spec, result), "");
  EXPECT_EQ(result.network_bytes, 5 * 2 * 10u);  // to where it begins, and home at the end
  std::map<std::uint32_t, std::uint32_t> places;
  for (const SimVisit& done : result.visits)
    EXPECT_EQ(places.emplace(done.visit.trial, done.visit.worker).first->second, done.visit.worker);
  EXPECT_EQ(orders(result), orders(simulate_hopper(fakes::cluster(epochs_s, 1, 3, 1, 2),
                                                   *make_visit_scheduler(VisitSchedulerKind::seed, 0))));
}

/// With a copy it goes on there; without one it waits.
TEST(HopperSimulatorTest, ATrialThatStaysGoesOnWhereItsStateIsWhenItsWorkerDies) {
  const double epochs_s[] = {4};
  auto spec = fakes::cluster(epochs_s, 2, 2, 2);
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::task, 0);
  const std::uint32_t place = simulate_hopper(spec, *scheduler).visits.front().visit.worker;
  spec.workers[place].outages = {{3, 100}};
  EXPECT_EQ(simulate_hopper(spec, *scheduler).makespan_s, 102);
  spec.state_replicas = 2;
  EXPECT_EQ(simulate_hopper(spec, *scheduler).makespan_s, 5);
}

TEST(HopperSimulatorTest, OneTrialGoesRoundOneAfterAnother) {
  const double epochs_s[] = {6};
  auto spec = fakes::cluster(epochs_s, 3, 3, 1, 2);
  spec.hop_s = 0.5;
  const auto result = simulate_hopper(spec, *make_visit_scheduler(VisitSchedulerKind::seed, 0));
  EXPECT_EQ(result.makespan_s, 2 * 6 + 6 * 0.5);
  EXPECT_EQ(result.busy_s, std::vector<double>(3, 4.0));
}

TEST(HopperSimulatorTest, SlotsShareWhatDevicesDo) {
  const double epochs_s[] = {2, 2, 2, 2};
  auto spec = fakes::cluster(epochs_s, 1, 1);
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 0);
  for (const std::uint32_t slots : {1u, 2u, 4u}) {
    spec.workers[0].worker.slots = slots;
    EXPECT_EQ(simulate_hopper(spec, *scheduler).makespan_s, 8);
  }
  spec.workers[0].worker.devices = 2;
  EXPECT_EQ(simulate_hopper(spec, *scheduler).makespan_s, 4);
}

/// While one trial trains, the state of the next comes.
TEST(HopperSimulatorTest, HopsAreHiddenBehindTraining) {
  const std::vector<double> epochs_s(8, 8.0);
  auto spec = fakes::cluster(epochs_s, 4, 4);
  spec.hop_s = 0.5;
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 0);
  EXPECT_EQ(simulate_hopper(spec, *scheduler).makespan_s, 16 + 8 * 0.5);
  for (SimWorker& worker : spec.workers) worker.worker.lookahead = 1;
  EXPECT_EQ(simulate_hopper(spec, *scheduler).makespan_s, 16 + 0.5);
}

TEST(HopperSimulatorTest, OrderSeedIsTheSameForOneWorkerAndForMany) {
  const double epochs_s[] = {6, 3, 3, 3, 6, 1, 2};
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 0);
  const Orders alone = orders(simulate_hopper(fakes::cluster(epochs_s, 1, 6, 1, 3), *scheduler));
  for (const std::uint32_t workers : {2u, 3u, 6u})
    for (const std::uint32_t replication : {1u, 2u}) {
      auto spec = fakes::cluster(epochs_s, workers, 6, replication, 3);
      spec.workers[0].worker.speed = 0.1;
      EXPECT_EQ(orders(simulate_hopper(spec, *scheduler)), alone);
    }
}

TEST(HopperSimulatorTest, EqualArgumentsGiveEqualResults) {
  const std::vector<double> epochs_s(20, 10.0);
  const auto spec = fakes::cluster(epochs_s, 5, 10, 2);
  for (const VisitSchedulerKind kind : kVisitSchedulerKinds) {
    const auto once = simulate_hopper(spec, *make_visit_scheduler(kind, 5));
    EXPECT_EQ(once, simulate_hopper(spec, *make_visit_scheduler(kind, 5)));
  }
}

TEST(HopperSimulatorTest, TheRandomOrderFollowsFromItsSeed) {
  const std::vector<double> epochs_s(20, 10.0);
  const auto spec = fakes::cluster(epochs_s, 5, 10);
  const auto random = [&](std::uint64_t seed) {
    return orders(simulate_hopper(spec, *make_visit_scheduler(VisitSchedulerKind::random, seed)));
  };
  EXPECT_NE(random(1), random(2));
}

TEST(HopperSimulatorTest, ARecordIsRepeatedAlsoOnOtherWorkers) {
  const double epochs_s[] = {6, 3, 3, 3, 6, 1, 2};
  const auto free = orders(
      simulate_hopper(fakes::cluster(epochs_s, 3, 6, 2, 2), *make_visit_scheduler(VisitSchedulerKind::random, 9)));
  const auto by_seed = make_visit_scheduler(VisitSchedulerKind::seed, 0);
  for (const std::uint32_t workers : {3u, 2u, 1u}) {
    auto spec = fakes::cluster(epochs_s, workers, 6, 1, 2);
    EXPECT_NE(orders(simulate_hopper(spec, *by_seed)), free);
    for (const auto& [trial, order] : free)
      spec.trials[trial].listed = std::make_shared<const std::vector<std::uint32_t>>(order);
    const auto again = simulate_hopper(spec, *by_seed);
    EXPECT_EQ(exactly_once_fault(spec, again), "");
    EXPECT_EQ(orders(again), free);
  }
}

TEST(HopperSimulatorTest, ADeadWorkersVisitGoesToAReplica) {
  const double epochs_s[] = {4};
  auto spec = fakes::cluster(epochs_s, 2, 2, 2);
  spec.state_replicas = 2;
  spec.detect_s = 0.25;
  spec.workers[0].outages = {{1, SimOutage{}.end_s}};
  spec.workers[1].outages = {{0, 0.5}};  // joins late
  const auto result = simulate_hopper(spec, *make_visit_scheduler(VisitSchedulerKind::seed, 0));
  EXPECT_EQ(exactly_once_fault(spec, result), "");
  EXPECT_EQ(result.given_up, 1u);
  EXPECT_EQ(result.makespan_s, 1 + 0.25 + 4);
}

/// Under `order: seed` the slow worker has nothing to do while trials wait for the late one.
TEST(HopperSimulatorTest, PatienceEndsWithADeadWorker) {
  const std::vector<double> epochs_s(8, 4.0);
  auto spec = fakes::cluster(epochs_s, 4, 4);
  spec.workers[0].outages = {{0, 12}};
  spec.workers[2].worker.speed = 0.5;
  const auto makespan_s = [&](VisitSchedulerKind kind) {
    const auto result = simulate_hopper(spec, *make_visit_scheduler(kind, 0));
    EXPECT_EQ(exactly_once_fault(spec, result), "") << to_string(kind);
    return result.makespan_s;
  };
  EXPECT_EQ(makespan_s(VisitSchedulerKind::patient), 12 + 8);  // eight visits to worker 0, one after another
  EXPECT_GE(makespan_s(VisitSchedulerKind::seed), 12 + 8 + 2);
}

TEST(HopperSimulatorTest, ATeamSharesAVisitAndGoesAtTheRateOfItsSlowestMember) {
  const double epochs_s[] = {6};
  auto spec = fakes::cluster(epochs_s, 3, 3, 3);  // 2 s a visit
  spec.trials[0].degree = 3;
  spec.hop_s = 0.5;
  spec.state_bytes = 10;
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 0);
  const auto together = simulate_hopper(spec, *scheduler);
  EXPECT_EQ(together.makespan_s, 0.5 + 6);  // after the beginning all hold the state, so nothing hops
  EXPECT_EQ(together.busy_s, std::vector<double>(3, 6.0));
  EXPECT_EQ(together.network_bytes, 3 * 10u);
  spec.workers[2].worker.speed = 0.5;
  EXPECT_EQ(simulate_hopper(spec, *scheduler).makespan_s, 0.5 + 12);
  // Alone it takes three times as long.
  spec.trials[0].may_be_alone = true;
  spec.workers[2].worker.speed = 1;
  for (const std::uint32_t dead : {1u, 2u}) spec.workers[dead].outages = {{0, SimOutage{}.end_s}};
  EXPECT_EQ(simulate_hopper(spec, *scheduler).makespan_s, 0.5 + 18);
}

TEST(HopperSimulatorTest, AStateHopsToEachMemberThatHasNone) {
  const double epochs_s[] = {4};
  auto spec = fakes::cluster(epochs_s, 4, 4, 2);  // 1 s a visit, at two neighbours
  spec.trials[0].degree = 2;
  spec.state_bytes = 10;
  spec.hop_s = 0.5;
  const auto result = simulate_hopper(spec, *make_visit_scheduler(VisitSchedulerKind::seed, 0));
  Bytes hops = 2 * 10;  // to where it begins
  for (std::size_t i = 1; i < result.visits.size(); ++i)
    for (const std::uint32_t member : result.visits[i].visit.members())
      if (!result.visits[i - 1].visit.is_at(member)) hops += 10;
  EXPECT_GT(hops, 2 * 10u);
  EXPECT_EQ(result.network_bytes, hops);
  EXPECT_EQ(exactly_once_fault(spec, result), "");
}

/// Nobody starves: neither a team among many that train alone, nor those among teams.
TEST(HopperSimulatorTest, TeamsAndTrialsAloneGetTheirTurns) {
  for (const VisitSchedulerKind kind : kVisitSchedulerKinds)
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      SCOPED_TRACE(text::cat(to_string(kind), ' ', seed));
      KeyedStream random(derive(seed, "teams"));
      const auto workers = static_cast<std::uint32_t>(2 + random.below(4));
      std::vector<double> epochs_s(2 + random.below(16));
      double longest_s = 0;
      for (double& epoch_s : epochs_s) longest_s = std::max(longest_s, epoch_s = 1 + 9 * random.uniform());
      auto spec = fakes::cluster(epochs_s, workers, workers, workers, 2);
      const auto teams = static_cast<std::uint32_t>(1 + random.below(epochs_s.size()));
      for (std::uint32_t t = 0; t < teams; ++t)
        spec.trials[t].degree = static_cast<std::uint32_t>(2 + random.below(workers - 1));
      for (SimWorker& worker : spec.workers) {
        worker.worker.slots = static_cast<std::uint32_t>(1 + seed % 2);
        worker.worker.lookahead = static_cast<std::uint32_t>(seed / 2 % 2);
      }
      const auto result = simulate_hopper(spec, *make_visit_scheduler(kind, seed));
      ASSERT_EQ(result.stuck, "");
      ASSERT_EQ(exactly_once_fault(spec, result), "");
      // While a team waits, visits begin, each of at most so long; then for its turn among teams.
      const double visit_s = longest_s / workers * spec.workers[0].worker.slots;
      const double bound_s = static_cast<double>(epochs_s.size() + 2 * teams) * visit_s;
      std::vector<double> since_s(spec.trials.size());
      for (const SimVisit& done : result.visits) {
        if (spec.trials[done.visit.trial].degree > 1) {
          EXPECT_LE(done.begin_s - since_s[done.visit.trial], bound_s);
        }
        since_s[done.visit.trial] = done.committed_s;
      }
      // A trial alone has its first visit before all teams have their last, if there are many.
      const auto alone = std::find_if(result.visits.begin(), result.visits.end(),
                                      [&](const SimVisit& done) { return spec.trials[done.visit.trial].degree == 1; });
      const auto last_team = std::find_if(result.visits.rbegin(), result.visits.rend(), [&](const SimVisit& done) {
        return spec.trials[done.visit.trial].degree > 1;
      });
      if (teams < epochs_s.size()) {
        EXPECT_LT(alone->begin_s, last_team->begin_s);
      }
    }
}

TEST(HopperSimulatorTest, APartitionWithoutALivingHomeIsNamed) {
  const double epochs_s[] = {4, 4};
  auto spec = fakes::cluster(epochs_s, 2, 2);
  spec.workers[1].outages = {{1, SimOutage{}.end_s}};
  const auto result = simulate_hopper(spec, *make_visit_scheduler(VisitSchedulerKind::lrtf, 0));
  EXPECT_EQ(result.stuck, "partition 1 has no living home: worker 1 is not here");
}

/// A spec with stragglers, late joiners, and workers that die; always such that all can be done.
HopperSimSpec faulty_cluster(std::uint64_t seed) {
  KeyedStream random(derive(seed, "faults"));
  const auto workers = static_cast<std::uint32_t>(2 + random.below(5));
  const auto partitions = static_cast<std::uint32_t>(workers + random.below(workers + 1));
  std::vector<double> epochs_s(1 + random.below(12));
  for (double& epoch_s : epochs_s) epoch_s = 1 + 9 * random.uniform();
  const auto epochs = static_cast<std::uint32_t>(1 + random.below(3));
  auto spec = fakes::cluster(epochs_s, workers, partitions, 2, epochs);
  spec.hop_s = 0.2 * random.uniform();
  spec.detect_s = 0.5 * random.uniform();
  spec.state_replicas = 2;
  // Either one dies for good, when everything has a second place, or any may die and come back.
  const auto lost = random.below(3) == 0 ? random.below(workers) : workers;
  if (random.below(2) == 0)
    for (ShopTrial& trial : spec.trials) {
      trial.degree = static_cast<std::uint32_t>(1 + random.below(2));
      trial.may_be_alone = lost < workers || random.below(2) == 0;
    }
  for (std::uint32_t w = 0; w < workers; ++w) {
    ShopWorker& worker = spec.workers[w].worker;
    worker.slots = static_cast<std::uint32_t>(1 + random.below(3));
    worker.lookahead = static_cast<std::uint32_t>(random.below(2));
    worker.speed = random.below(4) == 0 ? 0.1 : 1;
    if (w == lost) spec.workers[w].outages.push_back({20 * random.uniform(), SimOutage{}.end_s});
    if (lost < workers) continue;
    double at_s = random.below(4) == 0 ? 0 : 20 * random.uniform();
    for (auto outages = random.below(4); outages > 0; --outages) {
      const double end_s = at_s + 3 * random.uniform();
      spec.workers[w].outages.push_back({at_s, end_s});
      at_s = end_s + 0.01 + 10 * random.uniform();
    }
  }
  return spec;
}

TEST(HopperSimulatorTest, FaultyRunsCommitEachVisitExactlyOnce) {
  const std::uint64_t runs = fakes::drawn_runs(300);
  std::uint64_t given_up = 0;
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    const auto spec = faulty_cluster(seed);
    auto undisturbed = spec;
    for (SimWorker& worker : undisturbed.workers) worker = {};
    for (const VisitSchedulerKind kind : kVisitSchedulerKinds) {
      const auto scheduler = make_visit_scheduler(kind, seed);
      const auto result = simulate_hopper(spec, *scheduler);
      ASSERT_EQ(result.stuck, "") << "seed " << seed << ", " << to_string(kind);
      ASSERT_EQ(exactly_once_fault(spec, result), "") << "seed " << seed << ", " << to_string(kind);
      given_up += result.given_up;
      if (kind != VisitSchedulerKind::seed) continue;
      ASSERT_EQ(orders(result), orders(simulate_hopper(undisturbed, *scheduler))) << "seed " << seed;
    }
  }
  EXPECT_GT(given_up, runs);
}

}  // namespace
}  // namespace hopyard
