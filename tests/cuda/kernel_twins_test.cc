// The CPU's twins of kernels, against libtorch's own rounding.
#include "cuda/kernel_twins.h"

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
  pack_bf16(std::span(&value, 1), std::span(&bits, 1));
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

TEST(UnpackBf16Test, EveryValueComesBackAsItWas) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    float value = 0;
    unpack_bf16(std::span(&stored, 1), std::span(&value, 1));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(value), bits << 16);
    const bool nan = std::isnan(value);
    ASSERT_EQ(packed(bits << 16), nan ? 0x7fc0 : stored);
  }
}

TEST(PackBf16Test, BothEndsHaveOneSize) {
  float values[2] = {};
  std::uint16_t bits[3] = {};
  EXPECT_THROW(pack_bf16(values, bits), std::logic_error);
  EXPECT_THROW(unpack_bf16(bits, values), std::logic_error);
}

}  // namespace
}  // namespace hopyard
