#include "base/rng.h"

#include <utility>

namespace hopyard {

std::uint64_t KeyedStream::below(std::uint64_t bound) {
  const std::uint64_t threshold = -bound % bound;
  while (true) {
    const auto product = static_cast<unsigned __int128>(next()) * bound;
    if (static_cast<std::uint64_t>(product) >= threshold) return static_cast<std::uint64_t>(product >> 64);
  }
}

std::vector<std::uint32_t> permutation(std::uint32_t count, std::uint64_t key) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  KeyedStream stream(key);
  for (std::uint32_t i = count; i > 1; --i) std::swap(order[i - 1], order[stream.below(i)]);
  return order;
}

}  // namespace hopyard
