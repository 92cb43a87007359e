// Numbers as hexadecimal digits.
#pragma once

#include <cstdint>
#include <string>

namespace hopyard {

/// The lowest `digits` of them, the highest first.
inline void append_hex(std::string& out, std::uint64_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[(value >> shift) & 15];
}

}  // namespace hopyard
