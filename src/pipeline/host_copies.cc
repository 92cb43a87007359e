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

/// Each number by `convert`, whatever the threads.
template <class Value, class Convert>
void pack(std::span<const std::byte> floats, std::span<std::byte> out, const Convert& convert) {
  const std::size_t count = floats.size() / sizeof(float);
  require(out.size() >= count * sizeof(Value), "a copy of ", count, " numbers in ", out.size(), " bytes");
  const auto* const from = reinterpret_cast<const float*>(floats.data());
  auto* const to = reinterpret_cast<Value*>(out.data());
  for_ranges(count, kValuesOfThread, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) to[i] = convert(from[i]);
  });
}

}  // namespace

Bytes packed_bytes(Bytes float_bytes) { return charged_bytes(float_bytes / sizeof(float) * sizeof(std::uint16_t)); }

void pack_to_bf16(std::span<const std::byte> floats, std::span<std::byte> out) {
  pack<std::uint16_t>(floats, out, [](float value) { return bf16_bits(std::bit_cast<std::uint32_t>(value)); });
}

void pack_to_fp16(std::span<const std::byte> floats, std::span<std::byte> out) {
  pack<c10::Half>(floats, out, [](float value) { return c10::Half(value); });
}

}  // namespace hopyard
