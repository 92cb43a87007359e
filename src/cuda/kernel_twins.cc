#include "cuda/kernel_twins.h"

#include <bit>

#include "base/failure.h"
#include "cuda/bf16_bits.h"

namespace hopyard {

void pack_bf16(std::span<const float> from, std::span<std::uint16_t> to) {
  require(from.size() == to.size(), "pack_bf16: ", from.size(), " values into ", to.size());
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = bf16_bits(std::bit_cast<std::uint32_t>(from[i]));
}

void unpack_bf16(std::span<const std::uint16_t> from, std::span<float> to) {
  require(from.size() == to.size(), "unpack_bf16: ", from.size(), " values into ", to.size());
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = std::bit_cast<float>(std::uint32_t{from[i]} << 16);
}

}  // namespace hopyard
