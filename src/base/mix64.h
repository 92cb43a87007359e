// The mixing function under all our random numbers and keys, for the CPU and for kernels of GPUs.
#pragma once

#include <cstdint>

namespace hopyard {

/// One round of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, fig. 14): a bijection that mixes all bits.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// A key derived from a parent key and a counter.
constexpr std::uint64_t derive(std::uint64_t key, std::uint64_t counter) { return mix64(key ^ mix64(counter)); }

}  // namespace hopyard
