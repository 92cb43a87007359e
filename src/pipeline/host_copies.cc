#include "pipeline/host_copies.h"

#include <c10/util/Half.h>

#include <bit>

#include "base/failure.h"
#include "base/parallel.h"
#include "cuda/bf16_bits.h"
#include "device/memory_account.h"

namespace hopyard {

namespace {

constexpr std::size_t kValuesOfThread = std::size_t{1} << 22;  // some milliseconds

}  // namespace

Bytes packed_bytes(Bytes float_bytes) { return charged_bytes(float_bytes / sizeof(float) * sizeof(std::uint16_t)); }

void pack_to_bf16(std::span<const std::byte> floats, std::span<std::byte> out) {
  const std::size_t count = floats.size() / sizeof(float);
  require(out.size() >= count * sizeof(std::uint16_t), "a copy of ", count, " numbers in ", out.size(), " bytes");
  const auto* const from = reinterpret_cast<const float*>(floats.data());
  auto* const to = reinterpret_cast<std::uint16_t*>(out.data());
  for_ranges(count, kValuesOfThread, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) to[i] = bf16_bits(std::bit_cast<std::uint32_t>(from[i]));
  });
}

void pack_to_fp16(std::span<const std::byte> floats, std::span<std::byte> out) {
  const std::size_t count = floats.size() / sizeof(float);
  require(out.size() >= count * sizeof(c10::Half), "a copy of ", count, " numbers in ", out.size(), " bytes");
  const auto* const from = reinterpret_cast<const float*>(floats.data());
  auto* const to = reinterpret_cast<c10::Half*>(out.data());
  for_ranges(count, kValuesOfThread, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) to[i] = c10::Half(from[i]);
  });
}

}  // namespace hopyard
