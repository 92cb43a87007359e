#include "hopper/visit_order.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "fakes/failure_of.h"

namespace hopyard {
namespace {

TEST(VisitOrderTest, EveryEpochVisitsEveryPartitionOnce) {
  for (const std::uint32_t partitions : {1u, 4u, 7u})
    for (std::uint32_t rotation = 0; rotation < partitions; ++rotation)
      for (std::uint32_t epoch = 0; epoch < 3; ++epoch) {
        std::set<std::uint32_t> visited;
        for (std::uint32_t v = 0; v < partitions; ++v)
          visited.insert(rotated_partition(rotation, epoch, v, partitions));
        EXPECT_EQ(visited.size(), partitions);
        EXPECT_LT(*visited.rbegin(), partitions);
      }
}

TEST(VisitOrderTest, SeedsBeginAtDifferentPartitions) {
  std::set<std::uint32_t> first;
  for (std::uint64_t seed = 0; seed < 50; ++seed) first.insert(seed_rotation(seed, 4));
  EXPECT_EQ(first.size(), 4u);
}

TEST(VisitOrderTest, AVisitBeyondThePartitionsIsABrokenContract) {
  EXPECT_THROW(rotated_partition(1, 0, 4, 4), std::logic_error);
}

TEST(VisitOrderTest, ARecordIsFollowedAndTheRotationWhereItEnds) {
  const auto list = listed_visits({4, {3, 0, 1, 2, 2, 0}}, 1, {0, 1, 2, 3}, "the record");
  EXPECT_EQ(list, (std::vector<std::uint32_t>{1, 2, 3, 0, 3, 0, 1, 2, 2, 0, 3, 1}));
  for (std::uint32_t visits = 0; visits < 12; ++visits)
    EXPECT_EQ(partition_in_order(1, &list, visits, 4), list[visits]);
  EXPECT_EQ(partition_in_order(1, &list, 12, 4), 0u);
  EXPECT_EQ(partition_in_order(1, nullptr, 12, 4), 0u);
}

TEST(VisitOrderTest, ATrialMayVisitSomePartitionsOnly) {
  const std::vector<std::uint32_t> own = {2, 5, 7};
  const auto list = listed_visits({0, {7, 2}}, 1, own, "the record");
  EXPECT_EQ(list, (std::vector<std::uint32_t>{7, 2, 5}));
  for (const auto& [visits, partition] : std::map<std::uint32_t, std::uint32_t>{{0, 7}, {2, 5}, {3, 7}, {4, 2}, {5, 5}})
    EXPECT_EQ(partition_in_order(1, &list, visits, 3, own), partition) << visits;
}

/// Its first commit is the end of its parent's epoch, wherever that was trained.
TEST(VisitOrderTest, TheRecordOfAWarmCloneBeginsAtItsParentsState) {
  EXPECT_EQ(listed_visits({3, {2}}, 1, {0, 1, 2, 3}, "the record"), (std::vector<std::uint32_t>{1, 2, 3, 2}));
  EXPECT_EQ(listed_visits({3, {2, 3}}, 1, {0, 1, 2, 3}, "the record"),
            (std::vector<std::uint32_t>{1, 2, 3, 2, 3, 2, 0, 1}));
  EXPECT_TRUE(listed_visits({}, 1, {0, 1, 2, 3}, "the record").empty());
}

TEST(VisitOrderTest, ARecordThatCannotBeIsASentence) {
  const auto failure = [](RecordedVisits record) {
    return fakes::failure_of(ExitCode::input, [&] { listed_visits(record, 0, {0, 1}, "the record of t01"); });
  };
  EXPECT_EQ(failure({0, {0, 1, 1, 1}}),
            "the record of t01: has partition 1 as visit 2 of epoch 2, which that epoch has already");
  EXPECT_EQ(failure({0, {2}}),
            "the record of t01: has partition 2 as visit 1 of epoch 1, which is not among those that it visits");
}

TEST(RotationsTest, EqualTrialsStandEvenlyAround) {
  Rotations rotations(5, 4);
  const std::vector<double> work(8, 1.0);
  std::vector<std::uint32_t> trials(4);
  for (const std::uint32_t rotation : rotations.add(work)) ++trials.at(rotation);
  EXPECT_EQ(trials, std::vector<std::uint32_t>(4, 2));
}

TEST(RotationsTest, GroupsHaveEqualWork) {
  const double work[] = {1, 4, 2, 3, 1, 3, 2, 4};  // two groups of 10
  const auto rotations = Rotations(5, 2).add(work);
  std::vector<double> sums(2);
  for (std::size_t i = 0; i < std::size(work); ++i) sums.at(rotations[i]) += work[i];
  EXPECT_EQ(sums, (std::vector<double>{10, 10}));
}

TEST(RotationsTest, ATrialThatComesLaterJoinsTheGroupWithTheLeastWork) {
  Rotations rotations(5, 3);
  const double first[] = {3, 2, 1}, later[] = {1};
  const auto before = rotations.add(first);
  EXPECT_EQ(rotations.add(later)[0], before[2]);
}

TEST(RotationsTest, TrialsOfARecordCountLikeThoseThatWereAdded) {
  const double first[] = {3, 2, 2, 1}, later[] = {1};
  Rotations undisturbed(5, 3), resumed(5, 3);
  const auto rotations = undisturbed.add(first);
  for (std::size_t i = 0; i < std::size(first); ++i) resumed.put(rotations[i], first[i]);
  EXPECT_EQ(resumed.add(later), undisturbed.add(later));
}

TEST(RotationsTest, OneTrialHasTheRotationOfItsSeed) {
  const double work[] = {7};
  for (std::uint64_t seed = 0; seed < 10; ++seed) EXPECT_EQ(Rotations(seed, 5).add(work)[0], seed_rotation(seed, 5));
}

}  // namespace
}  // namespace hopyard
