// Sizes in bytes and arithmetic on them that cannot overflow unseen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace hopyard {

using Bytes = std::uint64_t;

constexpr Bytes KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

/// Every tensor in a flat buffer starts at a multiple of this: CPU kernels give other bits on less aligned data.
constexpr Bytes kTensorAlignment = 64;

constexpr Bytes align_up(Bytes bytes, Bytes alignment = kTensorAlignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

/// Nothing on overflow: for numbers that come out of foreign files.
inline std::optional<Bytes> checked_multiply(Bytes a, Bytes b) {
  Bytes product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

}  // namespace hopyard
