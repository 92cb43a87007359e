// What kernels of the card do, on the CPU: where no other code of ours does the same.
#pragma once

#include <cstdint>
#include <span>

namespace hopyard {

/// As launch_pack_bf16 and launch_unpack_bf16 of kernels.h, to the bit. Both of one size.
void pack_bf16(std::span<const float> from, std::span<std::uint16_t> to);
void unpack_bf16(std::span<const std::uint16_t> from, std::span<float> to);

}  // namespace hopyard
