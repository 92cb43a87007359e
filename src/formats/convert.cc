#include <bit>
#include <cstdint>
#include <cstring>

#include "base/failure.h"
#include "formats/safetensors.h"

namespace hopyard {

namespace {

float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

/// IEEE 754 binary16. The exponent and fraction are moved into place; 2^112 corrects the exponent's bias, which also
/// makes subnormals come out exactly. Infinities and NaNs keep their fraction.
float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
  const std::uint32_t magnitude = std::uint32_t{bits & 0x7fffu} << 13;
  const bool finite = (bits & 0x7c00u) != 0x7c00u;
  const auto value =
      finite ? std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f) : magnitude | 0x7f80'0000u;
  return std::bit_cast<float>(sign | value);
}

template <class Stored, class Convert>
void convert(std::span<const std::byte> in, std::span<float> out, Convert to_float) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, in.data() + i * sizeof stored, sizeof stored);
    out[i] = to_float(stored);
  }
}

}  // namespace

bool is_float(Dtype dtype) {
  return dtype == Dtype::f16 || dtype == Dtype::bf16 || dtype == Dtype::f32 || dtype == Dtype::f64;
}

void convert_to_f32(Dtype from, std::span<const std::byte> in, std::span<float> out) {
  require(in.size() == out.size() * dtype_bytes(from), "convert_to_f32: ", in.size(), " bytes of ", dtype_name(from),
          " for ", out.size(), " values");
  switch (from) {
    case Dtype::f16:
      return convert<std::uint16_t>(in, out, from_f16);
    case Dtype::bf16:
      return convert<std::uint16_t>(in, out, from_bf16);
    case Dtype::f64:
      return convert<double>(in, out, [](double value) { return static_cast<float>(value); });
    case Dtype::f32:
      if (!out.empty()) std::memcpy(out.data(), in.data(), in.size());
      return;
    default:
      fail(ExitCode::input, "values of dtype ", dtype_name(from), " stand where floating-point ones are needed");
  }
}

}  // namespace hopyard
