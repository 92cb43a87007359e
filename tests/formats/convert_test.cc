#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/failure.h"
#include "formats/safetensors.h"

namespace hopyard {
namespace {

template <class T>
std::vector<float> converted(Dtype from, const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T) + 1);
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(T));  // unaligned, as in a file
  std::vector<float> out(values.size());
  convert_to_f32(from, std::span(bytes).subspan(1), out);
  return out;
}

/// By the definition of binary16, for every bit pattern.
float f16_by_definition(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31)
    return fraction ? std::numeric_limits<float>::quiet_NaN() : sign * std::numeric_limits<float>::infinity();
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
}

TEST(Convert, EveryF16) {
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  const auto values = converted(Dtype::f16, all);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const float expected = f16_by_definition(all[i]);
    if (std::isnan(expected))
      ASSERT_TRUE(std::isnan(values[i])) << i;
    else
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(expected)) << i;
  }
}

TEST(Convert, Bf16IsTheUpperHalf) {
  const auto values = converted<std::uint16_t>(Dtype::bf16, {0x3f80, 0xc040, 0x0001, 0x7f80});
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -3.0f);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(values[2]), 0x10000u);
  EXPECT_EQ(values[3], std::numeric_limits<float>::infinity());
}

TEST(Convert, F32AndF64) {
  EXPECT_EQ(converted<float>(Dtype::f32, {1.5f, -0.0f}), (std::vector<float>{1.5f, -0.0f}));
  EXPECT_EQ(converted<double>(Dtype::f64, {0.1, -2.0}), (std::vector<float>{0.1f, -2.0f}));
}

TEST(Convert, RefusesWholeNumbersAndWrongLengths) {
  EXPECT_THROW(converted<std::int32_t>(Dtype::i32, {1}), Failure);
  std::vector<float> two(2);
  const std::vector<std::byte> bytes(4);
  EXPECT_THROW(convert_to_f32(Dtype::f32, bytes, two), std::logic_error);
}

}  // namespace
}  // namespace hopyard
