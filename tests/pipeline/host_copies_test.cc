// Rounding to bfloat16 in host memory, against libtorch's own.
#include "pipeline/host_copies.h"

#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/rng.h"

namespace hopyard {
namespace {

std::uint16_t packed(std::uint32_t float_bits) {
  const float value = std::bit_cast<float>(float_bits);
  std::uint16_t bits = 0;
  pack_to_bf16(std::as_bytes(std::span(&value, 1)), std::as_writable_bytes(std::span(&bits, 1)));
  return bits;
}

TEST(PackBf16Test, RoundsAsLibtorchForEveryExponentAndAroundEveryTie) {
  for (std::uint32_t high = 0; high < 0x10000; ++high)
    for (const std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const std::uint32_t bits = high << 16 | low;
      ASSERT_EQ(packed(bits), c10::detail::round_to_nearest_even(std::bit_cast<float>(bits))) << std::hex << bits;
    }
}

TEST(PackBf16Test, RoundsRandomBitsAsLibtorch) {
  KeyedStream drawn(11);
  for (int i = 0; i < 100'000; ++i) {
    const auto bits = static_cast<std::uint32_t>(drawn.next());
    ASSERT_EQ(packed(bits), c10::detail::round_to_nearest_even(std::bit_cast<float>(bits))) << std::hex << bits;
  }
}

TEST(PackBf16Test, KeepsNaNInfinityAndSign) {
  EXPECT_TRUE(std::isnan(float(c10::BFloat16(packed(0x7f80'0001u), c10::BFloat16::from_bits()))));
  EXPECT_TRUE(std::isnan(float(c10::BFloat16(packed(0xffff'ffffu), c10::BFloat16::from_bits()))));
  EXPECT_EQ(packed(0x7f80'0000u), 0x7f80);
  EXPECT_EQ(packed(0xff80'0000u), 0xff80);
  EXPECT_EQ(packed(0x8000'0000u), 0x8000);
  EXPECT_EQ(packed(0x7f7f'ffffu), 0x7f80) << "the largest float32 is nearer to infinity";
}

TEST(PackBf16Test, WhatIsRoundedAlreadyStaysAsItIs) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits)
    ASSERT_EQ(packed(bits << 16), std::isnan(std::bit_cast<float>(bits << 16)) ? 0x7fc0 : bits);
}

TEST(PackBf16Test, ThereMustBeRoom) {
  const float values[2] = {};
  std::uint16_t bits[1] = {};
  EXPECT_THROW(pack_to_bf16(std::as_bytes(std::span(values)), std::as_writable_bytes(std::span(bits))),
               std::logic_error);
}

}  // namespace
}  // namespace hopyard
