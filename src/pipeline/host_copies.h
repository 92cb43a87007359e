// Copies of parameters in host memory, in the type that is computed in.
#pragma once

#include <cstddef>
#include <span>

#include "base/bytes.h"

namespace hopyard {

/// What a copy of a flat float32 buffer takes, in bfloat16 or float16.
Bytes packed_bytes(Bytes float_bytes);
/// Rounds to nearest, ties to even, as devices do when they cast. On the calling thread alone.
void pack_to_bf16(std::span<const std::byte> floats, std::span<std::byte> out);
void pack_to_fp16(std::span<const std::byte> floats, std::span<std::byte> out);

}  // namespace hopyard
