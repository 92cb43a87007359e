#include "spill/host_tier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/failure.h"
#include "base/rng.h"
#include "spill/buffer_window.h"

namespace hopyard {
namespace {

TEST(HostTier, RefusesOneByteTooMany) {
  HostTier host(1000);
  EXPECT_FALSE(host.reserve(1001));
  const auto most = host.reserve(999);
  ASSERT_TRUE(most);
  EXPECT_FALSE(host.reserve(2));
  EXPECT_FALSE(host.reserve(~Bytes{0}));
  const auto last = host.reserve(1);
  ASSERT_TRUE(last);
  EXPECT_FALSE(host.reserve(1));
  EXPECT_EQ(host.used(), 1000u);
}

TEST(HostTier, GivesBackAndRemembersThePeak) {
  HostTier host(1000);
  {
    const auto reservation = host.reserve(700);
    EXPECT_EQ(host.used(), 700u);
  }
  EXPECT_EQ(host.used(), 0u);
  EXPECT_EQ(host.peak(), 700u);
}

TEST(HostReservation, SplitsAndMerges) {
  HostTier host(1000);
  auto whole = *host.reserve(1000);
  auto part = whole.split(300);
  EXPECT_EQ(whole.bytes(), 700u);
  EXPECT_EQ(part.bytes(), 300u);
  EXPECT_EQ(host.used(), 1000u);
  EXPECT_THROW(part.split(301), std::logic_error);
  whole.merge(std::move(part));
  EXPECT_EQ(whole.bytes(), 1000u);
  { const auto gone = whole.split(400); }
  EXPECT_EQ(host.used(), 600u);
  HostTier other(1000);
  EXPECT_THROW(whole.merge(*other.reserve(1)), std::logic_error);
}

TEST(HostReservation, MovesWithoutCountingTwice) {
  HostTier host(1000);
  auto first = *host.reserve(400);
  auto second = *host.reserve(100);
  second = std::move(first);  // the 100 are given back
  EXPECT_EQ(host.used(), 400u);
  EXPECT_EQ(second.bytes(), 400u);
  HostReservation third(std::move(second));
  EXPECT_EQ(third.bytes(), 400u);
  third = HostReservation();
  EXPECT_EQ(host.used(), 0u);
}

TEST(HostBuffer, TakesWholeGranulesAndIsAligned) {
  HostTier host(16 * MiB);
  for (const Bytes bytes : {Bytes{1}, Bytes{4096}, Bytes{4097}, 2 * MiB, 5 * MiB + 1}) {
    HostBuffer buffer(*host.reserve(HostBuffer::rounded(bytes)), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096, 0u);
    EXPECT_EQ(buffer.size(), bytes);
    EXPECT_EQ(host.used(), align_up(bytes, 4096));
    std::memset(buffer.data(), 1, HostBuffer::rounded(bytes));
  }
  EXPECT_EQ(host.used(), 0u);
  EXPECT_THROW(HostBuffer(*host.reserve(100), 100), std::logic_error);
  EXPECT_FALSE(HostBuffer(HostReservation(), 0));
}

TEST(HostBuffer, MovesAndReleases) {
  HostTier host(1 * MiB);
  HostBuffer first(*host.reserve(8192), 8192), second(*host.reserve(4096), 4096);
  first.span()[0] = std::byte{7};
  second = std::move(first);
  EXPECT_EQ(host.used(), 8192u);
  EXPECT_EQ(second.span()[0], std::byte{7});
  const HostReservation back = second.release();
  EXPECT_FALSE(second);
  EXPECT_EQ(back.bytes(), 8192u);
  EXPECT_EQ(host.used(), 8192u);
}

TEST(HostBuffer, TakesTheMemoryThatOneOfItsSizeLeft) {
  HostTier host(64 * KiB);
  HostBuffer first(*host.reserve(8192), 8192);
  const std::byte* const address = first.data();
  first = HostBuffer();
  EXPECT_EQ(host.mapped(), 8192u);
  const HostBuffer other(*host.reserve(4096), 4096), second(*host.reserve(8192), 8191);
  EXPECT_EQ(second.data(), address);
  EXPECT_EQ(host.mapped(), 12288u);
}

TEST(HostBuffer, MappedBytesNeverExceedTheCapacity) {
  HostTier host(256 * KiB);
  KeyedStream random(derive(7, "host tier"));
  std::vector<HostBuffer> buffers;
  Bytes most = 0;
  for (int step = 0; step < 5000; ++step) {
    const Bytes bytes = 4096 * (1 + random.below(24));
    if (auto reservation = host.reserve(bytes)) {
      buffers.emplace_back(std::move(*reservation), bytes);
      std::memset(buffers.back().data(), 1, bytes);
    } else {
      buffers.erase(buffers.begin() + static_cast<std::ptrdiff_t>(random.below(buffers.size())));
    }
    ASSERT_GE(host.mapped(), host.used());
    most = std::max(most, host.mapped());
  }
  EXPECT_LE(most, host.capacity());
}

TEST(BufferWindow, NeverGivesMoreThanItHasInWhateverSizes) {
  HostTier host(64 * KiB);
  BufferWindow window(*host.reserve(64 * KiB));
  std::vector<HostBuffer> buffers;
  for (int i = 0; i < 16; ++i) buffers.push_back(window.take(4 * KiB));
  EXPECT_EQ(window.available(), 0u);
  EXPECT_THROW(window.take(1), std::logic_error);
  for (auto& buffer : buffers) window.give_back(std::move(buffer));
  HostBuffer large = window.take(60 * KiB);  // needs the bytes of the small ones
  EXPECT_EQ(window.available(), 4 * KiB);
  EXPECT_EQ(host.used(), 64 * KiB);
  window.give_back(std::move(large));
  window.close();
  EXPECT_EQ(host.used(), 0u);
}

TEST(BufferWindow, ReusesMemoryOfTheSameSize) {
  HostTier host(64 * KiB);
  BufferWindow window(*host.reserve(64 * KiB));
  HostBuffer buffer = window.take(10'000);
  const std::byte* address = buffer.data();
  window.give_back(std::move(buffer));
  EXPECT_EQ(window.take(9'999).data(), address);
}

}  // namespace
}  // namespace hopyard
