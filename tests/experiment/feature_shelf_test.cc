// Segments of features that come into host memory and leave it: their bytes on disk and back, and who may leave.
#include "experiment/feature_shelf.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>

#include "base/clock.h"
#include "fakes/failure_of.h"
#include "fakes/memory_disk_tier.h"

namespace hopyard {
namespace {

constexpr Bytes kRowBytes = 6000;
using State = FeatureShelf::State;

class FeatureShelfTest : public ::testing::Test {
 protected:
  /// Four segments of two or three rows, of which two are in memory at a time.
  std::unique_ptr<FeatureShelf> shelf(FeatureTier tier) {
    const Features::Segments segments{{0, 4, 8}, {1, 5}, {2, 6, 9}, {3, 7}};
    auto reservation = host_.reserve(Features::bytes_for(segments, 2, kRowBytes));
    auto features = std::make_shared<Features>(std::move(*reservation), 10, segments, 2, kRowBytes);
    return std::make_unique<FeatureShelf>(std::move(features), tier, 3,
                                          FeatureShelfParts{disk_, pool_, [this] { ++woken_; }});
  }
  static std::byte byte_of(std::uint32_t row, Bytes at) { return static_cast<std::byte>(row * 31 + at * 7); }
  /// As a run of the materialiser would.
  static void compute(FeatureShelf& shelf, std::uint32_t segment) {
    shelf.begin_computing(segment);
    Features& features = *shelf.features();
    for (const auto row : features.segments()[segment])
      for (Bytes at = 0; at < kRowBytes; ++at) features.row(row)[at] = byte_of(row, at);
    features.note(features.segments()[segment], 3, {3, 500});
    shelf.computed(segment);
  }
  void settle(FeatureShelf& shelf) {
    pool_.drain();
    shelf.poll();
    EXPECT_FALSE(shelf.busy());
  }
  static void expect_there(const FeatureShelf& shelf, std::uint32_t segment) {
    const Features& features = *shelf.features();
    ASSERT_EQ(shelf.state(segment), State::here);
    EXPECT_EQ(features.row_shape(features.segments()[segment], 3), (std::vector<std::int64_t>{3, 500}));
    for (const auto row : features.segments()[segment])
      for (Bytes at = 0; at < kRowBytes; ++at) ASSERT_EQ(features.row(row)[at], byte_of(row, at)) << row << " " << at;
  }

  HostTier host_{MiB};
  MemoryDiskTier disk_;
  IoPool pool_{2};
  std::atomic<int> woken_ = 0;
};

TEST_F(FeatureShelfTest, OnTheDiskTierSegmentsComeBackAsTheyWere) {
  const auto shelf = this->shelf(FeatureTier::disk);
  for (std::uint32_t segment = 0; segment < 4; ++segment) {
    ASSERT_TRUE(shelf->make_place(segment, {}));
    compute(*shelf, segment);
    settle(*shelf);
  }
  EXPECT_EQ(woken_, 4);
  EXPECT_EQ(disk_.versions().size(), 4u);
  EXPECT_EQ(shelf->state(0), State::on_disk);
  EXPECT_THROW(shelf->features()->row(0), std::logic_error);
  for (const std::uint32_t segment : {0u, 2u, 1u, 3u, 0u}) {
    ASSERT_TRUE(shelf->make_place(segment, {}));
    if (shelf->state(segment) == State::on_disk) shelf->read(segment);
    settle(*shelf);
    expect_there(*shelf, segment);
  }
  EXPECT_EQ(disk_.counters().written, 10 * kRowBytes) << "written once";
}

TEST_F(FeatureShelfTest, FusedSegmentsLeaveAndAreComputedAgain) {
  const auto shelf = this->shelf(FeatureTier::fused);
  for (const std::uint32_t segment : {0u, 1u, 2u, 0u}) {
    ASSERT_TRUE(shelf->make_place(segment, {}));
    ASSERT_EQ(shelf->state(segment), State::absent);
    compute(*shelf, segment);
    expect_there(*shelf, segment);
  }
  EXPECT_EQ(shelf->state(1), State::here);
  EXPECT_EQ(shelf->state(2), State::absent);
  EXPECT_TRUE(disk_.versions().empty());
}

TEST_F(FeatureShelfTest, WhatIsHeldNeededOrBeingWrittenStays) {
  const auto shelf = this->shelf(FeatureTier::disk);
  for (const std::uint32_t segment : {0u, 1u}) ASSERT_TRUE(shelf->make_place(segment, {}));
  EXPECT_FALSE(shelf->make_place(2, {0, 1})) << "needed, though nothing is there yet";
  disk_.faults.delay_s = 0.2;
  compute(*shelf, 0);
  compute(*shelf, 1);
  EXPECT_FALSE(shelf->make_place(2, {}));
  settle(*shelf);
  FeatureHold hold = shelf->hold(0);
  EXPECT_FALSE(shelf->make_place(2, {1}));
  EXPECT_TRUE(shelf->make_place(2, {0}));
  EXPECT_EQ(shelf->state(0), State::here);
  EXPECT_EQ(shelf->state(1), State::on_disk);
  EXPECT_FALSE(shelf->make_place(3, {2}));
  hold.reset();
  EXPECT_TRUE(shelf->make_place(3, {2}));
}

TEST_F(FeatureShelfTest, AFullDiskMeansComputingAgainAndABrokenOneAnError) {
  {
    MemoryDiskTier full(10);
    const auto features = std::make_shared<Features>(*host_.reserve(Features::bytes_for({{0}, {1}}, 1, kRowBytes)), 2,
                                                     Features::Segments{{0}, {1}}, 1, kRowBytes);
    FeatureShelf shelf(features, FeatureTier::disk, 3, {full, pool_, [] {}});
    ASSERT_TRUE(shelf.make_place(0, {}));
    compute(shelf, 0);
    settle(shelf);
    EXPECT_TRUE(shelf.make_place(1, {}));
    EXPECT_EQ(shelf.state(0), State::absent);
  }
  disk_.faults.writes_until_failure = 0;
  const auto shelf = this->shelf(FeatureTier::disk);
  ASSERT_TRUE(shelf->make_place(0, {}));
  compute(*shelf, 0);
  pool_.drain();
  EXPECT_NE(fakes::failure_of(ExitCode::input, [&] { shelf->poll(); }).find("injected"), std::string::npos);
}

TEST_F(FeatureShelfTest, GoesWithAllItHoldsWhenItsDiskWorkHasEnded) {
  auto shelf = this->shelf(FeatureTier::disk);
  disk_.faults.delay_s = 0.1;
  ASSERT_TRUE(shelf->make_place(0, {}));
  compute(*shelf, 0);
  shelf.reset();
  EXPECT_TRUE(disk_.versions().empty());
  EXPECT_EQ(host_.used(), 0u);
}

}  // namespace
}  // namespace hopyard
