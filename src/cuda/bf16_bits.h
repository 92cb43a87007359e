// bfloat16 as bits, for the CPU and the card alike.
#pragma once

#include <cstdint>

namespace hopyard {

/// Of a float32's bits, rounded to nearest, ties to even. Every NaN becomes 0x7fc0, as c10::BFloat16 has it.
constexpr std::uint16_t bf16_bits(std::uint32_t float_bits) {
  if ((float_bits & 0x7fff'ffffu) > 0x7f80'0000u) return 0x7fc0;
  return static_cast<std::uint16_t>((float_bits + 0x7fffu + (float_bits >> 16 & 1u)) >> 16);
}

}  // namespace hopyard
