#include "pipeline/host_copies.h"

#include "base/failure.h"
#include "cuda/kernel_twins.h"
#include "device/memory_account.h"

namespace hopyard {

Bytes packed_bytes(Bytes float_bytes) { return charged_bytes(float_bytes / sizeof(float) * sizeof(std::uint16_t)); }

void pack_to_bf16(std::span<const std::byte> floats, std::span<std::byte> out) {
  const std::size_t count = floats.size() / sizeof(float);
  require(out.size() >= count * sizeof(std::uint16_t), "a copy of ", count, " numbers in ", out.size(), " bytes");
  pack_bf16({reinterpret_cast<const float*>(floats.data()), count},
            {reinterpret_cast<std::uint16_t*>(out.data()), count});
}

}  // namespace hopyard
