#include "hopper/bounds.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "hopper/shop_fixture.h"

namespace hopyard {
namespace {

constexpr double kFig5[] = {6, 3, 3, 3, 6};  // Cerebro, Fig. 5: seconds of an epoch

TEST(HopperBoundsTest, CerebroFig5) {
  EXPECT_EQ(task_parallel_makespan_s(kFig5, 3), 9);
  EXPECT_EQ(open_shop_bound_s(fakes::shop_of(fakes::cluster(kFig5, 3, 3))), 7);
}

TEST(HopperBoundsTest, TheLongestTrialBounds) {
  const double epochs_s[] = {8, 1, 1};
  EXPECT_EQ(open_shop_bound_s(fakes::shop_of(fakes::cluster(epochs_s, 4, 4, 1, 3))), 24);
}

TEST(HopperBoundsTest, AWorkerWithTheOnlyCopyBounds) {
  // 3 partitions on 2 workers: worker 0 has two of them, 2 s for each of 4 trials.
  const double epochs_s[] = {6, 6, 6, 6};
  EXPECT_EQ(open_shop_bound_s(fakes::shop_of(fakes::cluster(epochs_s, 2, 3))), 16);
  // With every partition on both, work can be shared.
  EXPECT_EQ(open_shop_bound_s(fakes::shop_of(fakes::cluster(epochs_s, 2, 3, 2))), 12);
}

TEST(HopperBoundsTest, SpeedAndDevicesCount) {
  const double epochs_s[] = {4, 4, 4, 4};
  auto spec = fakes::cluster(epochs_s, 2, 2);
  spec.workers[1].worker.speed = 0.5;
  EXPECT_EQ(open_shop_bound_s(fakes::shop_of(spec)), 16);
  spec.workers[1].worker.devices = 2;
  spec.workers[1].worker.slots = 2;
  EXPECT_EQ(open_shop_bound_s(fakes::shop_of(spec)), 8);
}

TEST(HopperBoundsTest, WhatIsDoneDoesNotCount) {
  const double epochs_s[] = {6, 6, 6};
  const auto spec = fakes::cluster(epochs_s, 3, 3);
  OpenShop shop = fakes::shop_of(spec);
  const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 0);
  EXPECT_EQ(open_shop_bound_s(shop), 6);
  for (const PlacedVisit& visit : dispatch(shop, *scheduler)) shop.commit(visit, {visit.worker});
  EXPECT_EQ(open_shop_bound_s(shop), 4);
}

/// The example of Cerebro §3: 4 TB against 72 PB.
TEST(HopperBoundsTest, CommunicationOfTheModelHopperAndOfDataParallelism) {
  constexpr Bytes kGB = 1'000'000'000;
  const CommunicationCase example{.epochs = 20, .trials = 20, .partitions = 10, .model_bytes = kGB, .batches = 100'000};
  EXPECT_EQ(hopper_bytes(example), 4'020 * kGB);
  EXPECT_EQ(data_parallel_bytes(example), 72'000'000 * kGB);
  EXPECT_EQ(data_parallel_bytes({.partitions = 3, .model_bytes = 1, .batches = 4}), 2u * 2 * 2);
  EXPECT_THROW(hopper_bytes({.epochs = 1 << 20, .trials = 1 << 20, .partitions = 1 << 20, .model_bytes = kGB}),
               std::overflow_error);
}

TEST(HopperBoundsTest, SimulatedBytesAreThoseOfTheFormula) {
  for (const std::uint32_t replicas : {1u, 2u})
    for (const std::uint32_t workers : {3u, 10u})
      for (const std::uint32_t epochs : {1u, 4u}) {
        const std::vector<double> epochs_s(20, 10.0);
        auto spec = fakes::cluster(epochs_s, workers, workers, 1, epochs);
        spec.state_bytes = 1000;
        spec.state_replicas = replicas;
        const auto result = simulate_hopper(spec, *make_visit_scheduler(VisitSchedulerKind::seed, 0));
        EXPECT_EQ(result.network_bytes,
                  hopper_bytes({.epochs = epochs, .trials = 20, .partitions = workers, .model_bytes = 1000}));
      }
}

}  // namespace
}  // namespace hopyard
