#include "hopper/placement.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(PlacementTest, HomesAreEvenDistinctAndAsManyAsAsked) {
  for (const std::uint32_t workers : {1u, 2u, 3u, 8u, 17u})
    for (const std::uint32_t partitions : {workers, workers + 1, 2 * workers + 3, 5 * workers})
      for (std::uint32_t replication = 1; replication <= std::min(workers, 4u); ++replication) {
        const Placement placement = place_partitions(partitions, workers, replication);
        std::vector<std::uint32_t> load(workers);
        for (const auto& homes : placement.homes) {
          EXPECT_EQ(std::set<std::uint32_t>(homes.begin(), homes.end()).size(), replication);
          for (const std::uint32_t home : homes) ++load.at(home);
        }
        const auto [least, most] = std::minmax_element(load.begin(), load.end());
        EXPECT_LE(*most - *least, 1u) << partitions << " on " << workers << ", " << replication << " homes";
      }
}

TEST(PlacementTest, ADeadWorkersPartitionsHaveTheirOtherHomesOnManyWorkers) {
  const Placement placement = place_partitions(40, 5, 2);
  for (std::uint32_t dead = 0; dead < 5; ++dead) {
    std::vector<std::uint32_t> more(5);
    for (const std::uint32_t p : placement.partitions_of(dead))
      for (const std::uint32_t home : placement.homes[p])
        if (home != dead) ++more[home];
    EXPECT_EQ(std::count_if(more.begin(), more.end(), [](std::uint32_t n) { return n > 0; }), 4);
    EXPECT_LE(*std::max_element(more.begin(), more.end()), 6u);
  }
}

TEST(PlacementTest, OneHomeEachGoesRound) {
  EXPECT_THAT(place_partitions(5, 3, 1).partitions_of(0), ElementsAre(0, 3));
  EXPECT_THAT(place_partitions(5, 3, 1).partitions_of(2), ElementsAre(2));
}

TEST(PlacementTest, WhatCannotBeIsASentence) {
  EXPECT_THAT(fakes::failure_of(ExitCode::usage, [] { place_partitions(2, 3, 1); }),
              HasSubstr("2 partitions are too few for 3 workers; cut the data anew with `hopyard partition --into=3`"));
  EXPECT_THAT(fakes::failure_of(ExitCode::usage, [] { place_partitions(4, 3, 4); }), HasSubstr("replication: 4 homes"));
  EXPECT_THAT(fakes::failure_of(ExitCode::usage, [] { place_partitions(4, 3, 0); }), HasSubstr("give 1 to 3"));
  EXPECT_THAT(fakes::failure_of(ExitCode::usage, [] { place_partitions(4, 0, 1); }), HasSubstr("no worker"));
}

TEST(PlacementTest, PartitionsWithoutALivingHomeAreNamed) {
  const Placement placement{3, {{0, 1}, {1, 2}, {0, 2}}};
  Bits alive = Bits::all(3);
  EXPECT_EQ(describe_homeless(placement, alive), "");
  alive.reset(1);
  EXPECT_EQ(describe_homeless(placement, alive), "");
  alive.reset(2);
  EXPECT_THAT(homeless(placement, alive), ElementsAre(1));
  EXPECT_EQ(describe_homeless(placement, alive), "partition 1 has no living home: workers 1, 2 are not here");
  alive.reset(0);
  EXPECT_EQ(describe_homeless(placement, alive),
            "partition 0 has no living home: workers 0, 1 are not here; nor have 2 more");
  EXPECT_EQ(describe_homeless({2, {{1}}}, Bits(2)), "partition 0 has no living home: worker 1 is not here");
}

}  // namespace
}  // namespace hopyard
