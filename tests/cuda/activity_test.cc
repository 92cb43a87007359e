// Times of kernels and copies from records of a card.
#include "cuda/activity.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "cuda/activity_recorder.h"

namespace hopyard {
namespace {

using Kind = ActivityKind;

ActivityRecord record(Kind kind, double begin_s, double end_s, std::uint32_t stream = 1, Bytes bytes = 0) {
  return {kind, 0, stream, 0, begin_s, end_s, bytes};
}

TEST(IntervalsTest, PiecesThatTouchOrOverlapAreOne) {
  EXPECT_EQ(united({{5, 6}, {1, 2}, {2, 3}, {1.5, 2.5}, {7, 7}, {9, 8}}), (Intervals{{1, 3}, {5, 6}}));
  EXPECT_EQ(united({}), Intervals{});
  EXPECT_EQ(common({{1, 3}, {5, 6}}, {{0, 2}, {2.5, 5.5}}), (Intervals{{1, 2}, {2.5, 3}, {5, 5.5}}));
  EXPECT_EQ(common({{1, 2}}, {{2, 3}}), Intervals{});
}

TEST(IntervalsTest, AgreeWithCountingTicks) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    KeyedStream drawn(seed);
    std::vector<bool> in_a(100), in_b(100);
    const auto draw = [&](std::vector<bool>& ticks) {
      Intervals pieces;
      for (std::uint64_t i = drawn.below(12); i > 0; --i) {
        const auto begin = drawn.below(90), end = begin + drawn.below(10);
        pieces.emplace_back(begin, end);
        for (auto tick = begin; tick < end; ++tick) ticks[tick] = true;
      }
      return united(pieces);
    };
    const Intervals a = draw(in_a), b = draw(in_b);
    double both = 0;
    for (std::size_t tick = 0; tick < 100; ++tick) both += in_a[tick] && in_b[tick];
    EXPECT_EQ(length_of(a), static_cast<double>(std::count(in_a.begin(), in_a.end(), true)));
    EXPECT_EQ(length_of(common(a, b)), both) << "seed " << seed;
  }
}

TEST(CardActivityTest, KernelsCopiesAndBothAtOnce) {
  const std::vector<ActivityRecord> records = {
      record(Kind::kernel, 0, 4, 7),          record(Kind::kernel, 3, 5, 8),
      record(Kind::to_card, 4, 7, 9, 100),    record(Kind::to_host, 6, 8, 10, 50),
      record(Kind::on_card, 9, 9.5, 7, 1000), {Kind::kernel, /*card=*/1, 7, 0, 0, 10, 0},
  };
  const CardActivity activity = card_activity(records, 0, 0, 10);
  EXPECT_DOUBLE_EQ(activity.wall_s, 10);
  EXPECT_DOUBLE_EQ(activity.kernel_s, 5);
  EXPECT_DOUBLE_EQ(activity.to_card_s, 3);
  EXPECT_DOUBLE_EQ(activity.to_host_s, 2);
  EXPECT_DOUBLE_EQ(activity.on_card_s, 0.5);
  EXPECT_DOUBLE_EQ(activity.copy_s, 4);
  EXPECT_DOUBLE_EQ(activity.both_ways_s, 1);
  EXPECT_DOUBLE_EQ(activity.overlapped_s, 1);
  EXPECT_DOUBLE_EQ(activity.idle_s, 1.5);
  EXPECT_EQ(activity.to_card, 100u);
  EXPECT_EQ(activity.to_host, 50u);
  EXPECT_EQ(activity.streams, (std::vector<StreamActivity>{{7, 4, 0}, {8, 2, 0}, {9, 0, 3}, {10, 0, 2}}));
}

TEST(CardActivityTest, WhatReachesOverTheEndsIsCutThere) {
  const std::vector<ActivityRecord> records = {record(Kind::kernel, 0, 4), record(Kind::kernel, 9, 12),
                                               record(Kind::to_card, 20, 21, 1, 100)};
  const CardActivity activity = card_activity(records, 0, 2, 10);
  EXPECT_DOUBLE_EQ(activity.kernel_s, 3);
  EXPECT_EQ(activity.to_card, 0u) << "that was later";
  EXPECT_DOUBLE_EQ(card_activity(records, 0, 5, 5).kernel_s, 0);
  EXPECT_DOUBLE_EQ(card_activity({}, 0, 0, 3).idle_s, 3);
}

TEST(LongestKernelsTest, AreSummedByName) {
  ActivityLog log;
  log.names = {"gemm", "softmax", "never"};
  log.records = {record(Kind::kernel, 0, 1), record(Kind::kernel, 1, 5), record(Kind::kernel, 5, 6),
                 record(Kind::to_card, 0, 100)};
  log.records[1].name = 1;
  const auto longest = longest_kernels(log, 0, 10);
  ASSERT_EQ(longest.size(), 2u);
  EXPECT_EQ(longest[0].name, "softmax");
  EXPECT_DOUBLE_EQ(longest[0].seconds, 4);
  EXPECT_EQ(longest[1].launches, 2u);
  EXPECT_EQ(longest_kernels(log, 0, 1).size(), 1u);
}

TEST(ActivityTraceTest, JoinsWhatFollowsClosely) {
  ActivityLog log;
  log.names = {"gemm"};
  log.records = {record(Kind::kernel, 2.05, 3, 7), record(Kind::kernel, 1, 2, 7), record(Kind::kernel, 5, 6, 7),
                 record(Kind::to_card, 6.01, 7, 7, 64), record(Kind::to_host, 1, 2, 8, 32)};
  TraceRecorder trace;
  add_to_trace(log, 0.1, trace);
  EXPECT_EQ(trace.tracks(), (std::vector<std::string>{"cuda:0/gpu stream 7", "cuda:0/gpu stream 8"}));
  const auto slices = trace.slices();
  ASSERT_EQ(slices.size(), 4u);
  EXPECT_EQ(slices[0].name, "2 × kernels");
  EXPECT_DOUBLE_EQ(slices[0].begin_s, 1);
  EXPECT_DOUBLE_EQ(slices[0].end_s, 3);
  EXPECT_EQ(slices[1].name, "gemm");
  EXPECT_EQ(slices[2].name, "1 × to card");
  EXPECT_EQ(slices[2].bytes, 64u);
  EXPECT_EQ(slices[3].track, 1u);
}

TEST(ClockMapTest, IsExactForNanosecondsSince1970) {
  const std::uint64_t begin = 1'795'700'000'000'000'000;
  const ClockMap even({begin, 100.0}, {begin + 2'000'000'000, 102.0});
  EXPECT_DOUBLE_EQ(even.seconds(begin + 1), 100.000000001);
  EXPECT_DOUBLE_EQ(even.seconds(begin - 500'000'000), 99.5);
  const ClockMap slower({begin, 100.0}, {begin + 1'000'000'000, 101.5});
  EXPECT_DOUBLE_EQ(slower.seconds(begin + 500'000'000), 100.75);
  const ClockMap no_end({begin, 100.0}, {begin, 100.0});
  EXPECT_DOUBLE_EQ(no_end.seconds(begin + 1'000'000'000), 101.0);
}

TEST(ActivityRecorderTest, RecordsOrSaysWhyNot) {
  std::string why_not;
  const auto recorder = record_activity(why_not);
  EXPECT_EQ(recorder == nullptr, !why_not.empty());
  if (recorder == nullptr) return;
  std::string second;
  EXPECT_EQ(record_activity(second), nullptr);
  EXPECT_NE(second, "");
  const ActivityLog log = recorder->stop();
  EXPECT_GE(log.end_s, log.begin_s);
}

}  // namespace
}  // namespace hopyard
