// Random numbers keyed by counter, not drawn from a shared stream: what a key gives does not depend on who asked
// before.
#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "base/mix64.h"

namespace hopyard {

/// A key derived from a name (FNV-1a, then mixed): derive(seed, "dropout").
constexpr std::uint64_t derive(std::uint64_t key, std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return derive(key, hash);
}

/// A short stream of numbers from one key, for shuffles, search and initial weights.
class KeyedStream {
 public:
  explicit KeyedStream(std::uint64_t key) : key_(key) {}
  std::uint64_t next() { return derive(key_, counter_++); }
  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Uniform in [0, bound) without modulo bias (Lemire's multiply-shift with rejection). Requires bound > 0.
  std::uint64_t below(std::uint64_t bound);

 private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
};

/// The numbers 0 … count − 1 in an order that follows from the key alone (Fisher–Yates).
std::vector<std::uint32_t> permutation(std::uint32_t count, std::uint64_t key);

}  // namespace hopyard
