// The link is measured by the card's clock, each way and both at once.
#include "cuda/link_speed.h"

#include <gtest/gtest.h>

#include "fakes/fake_cuda.h"

namespace hopyard {
namespace {

using fakes::FakeCuda;

TEST(LinkSpeedTest, IsWhatTheCardsClockSays) {
  FakeCuda card({.seed = 5});
  const LinkSpeed speed = measure_link(card, MiB);
  EXPECT_NEAR(speed.to_card, FakeCuda::kBytesPerSecond, 1e6);
  EXPECT_NEAR(speed.to_host, FakeCuda::kBytesPerSecond, 1e6);
  EXPECT_GT(speed.each_way(), 0);
  EXPECT_TRUE(speed.pinned);
  EXPECT_EQ(card.misuse(), "");
  EXPECT_TRUE(card.all_given_back());
}

TEST(LinkSpeedTest, SaysWhetherTheMemoryCouldBePinned) {
  FakeCuda card({.refuse_pins = true});
  EXPECT_FALSE(measure_link(card, MiB).pinned);
}

TEST(LinkSpeedTest, ALostCardGivesBackEverything) {
  for (std::uint64_t call = 0; call < 40; ++call) {
    FakeCuda card({.seed = call});
    card.fail_after(call, CudaFault::lost_card);
    EXPECT_THROW(measure_link(card, MiB), CudaFailure) << "after " << call << " calls";
    EXPECT_TRUE(card.all_given_back()) << "after " << call << " calls";
  }
}

}  // namespace
}  // namespace hopyard
