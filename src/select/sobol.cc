#include "select/sobol.h"

#include <array>

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard {
namespace {

constexpr std::size_t kBits = 32;

/// A line of the table: degree and inner coefficients of the primitive polynomial, and the first m_i.
struct Line {
  std::uint32_t degree, coefficients;
  std::array<std::uint32_t, 8> first;
};

/// Dimensions 2 and up; the first has no polynomial.
constexpr std::array<Line, kSobolDimensions - 1> kLines{{
    {1, 0, {1}},
    {2, 1, {1, 3}},
    {3, 1, {1, 3, 1}},
    {3, 2, {1, 1, 1}},
    {4, 1, {1, 1, 3, 3}},
    {4, 4, {1, 3, 5, 13}},
    {5, 2, {1, 1, 5, 5, 17}},
    {5, 4, {1, 1, 5, 5, 5}},
    {5, 7, {1, 1, 7, 11, 19}},
    {5, 11, {1, 1, 5, 1, 1}},
    {5, 13, {1, 1, 1, 3, 11}},
    {5, 14, {1, 3, 5, 5, 31}},
    {6, 1, {1, 3, 3, 9, 7, 49}},
    {6, 13, {1, 1, 1, 15, 21, 21}},
    {6, 16, {1, 3, 1, 13, 27, 49}},
    {6, 19, {1, 1, 1, 15, 7, 5}},
    {6, 22, {1, 3, 1, 15, 13, 25}},
    {6, 25, {1, 1, 5, 5, 19, 61}},
    {7, 1, {1, 3, 7, 11, 23, 15, 103}},
    {7, 4, {1, 3, 7, 13, 13, 15, 69}},
    {7, 7, {1, 1, 3, 13, 7, 35, 63}},
    {7, 8, {1, 3, 5, 9, 1, 25, 53}},
    {7, 14, {1, 3, 1, 13, 9, 35, 107}},
    {7, 19, {1, 3, 1, 5, 27, 61, 31}},
    {7, 21, {1, 1, 5, 11, 19, 41, 61}},
    {7, 28, {1, 3, 5, 3, 3, 13, 69}},
    {7, 31, {1, 1, 7, 13, 1, 19, 1}},
    {7, 32, {1, 3, 7, 5, 13, 19, 59}},
    {7, 37, {1, 1, 3, 9, 25, 29, 41}},
    {7, 41, {1, 3, 5, 13, 23, 1, 55}},
    {7, 42, {1, 3, 7, 3, 13, 59, 17}},
    {7, 50, {1, 3, 1, 3, 5, 53, 69}},
    {7, 55, {1, 1, 5, 5, 23, 33, 13}},
    {7, 56, {1, 1, 7, 7, 1, 61, 123}},
    {7, 59, {1, 1, 7, 9, 13, 61, 49}},
    {7, 62, {1, 3, 3, 5, 3, 55, 33}},
    {8, 14, {1, 3, 1, 15, 31, 13, 49, 245}},
    {8, 21, {1, 3, 5, 15, 31, 59, 63, 97}},
    {8, 22, {1, 3, 1, 11, 11, 11, 77, 249}},
}};

using Directions = std::array<std::uint32_t, kBits>;

/// Joe and Kuo, section 2: m_k = 2 a_1 m_{k−1} ⊕ … ⊕ 2^{s−1} a_{s−1} m_{k−s+1} ⊕ 2^s m_{k−s} ⊕ m_{k−s}, and the
/// direction number is m_k / 2^k; here both are shifted to the top of 32 bits.
Directions directions_of(const Line& line) {
  Directions v{};
  const std::uint32_t s = line.degree;
  for (std::uint32_t k = 0; k < kBits; ++k) {
    if (k < s) {
      v[k] = line.first[k] << (kBits - 1 - k);
      continue;
    }
    v[k] = v[k - s] ^ (v[k - s] >> s);
    for (std::uint32_t i = 1; i < s; ++i)
      if ((line.coefficients >> (s - 1 - i)) & 1) v[k] ^= v[k - i];
  }
  return v;
}

std::array<Directions, kSobolDimensions> all_directions() {
  std::array<Directions, kSobolDimensions> all{};
  for (std::uint32_t k = 0; k < kBits; ++k) all[0][k] = 1u << (kBits - 1 - k);
  for (std::size_t d = 1; d < kSobolDimensions; ++d) all[d] = directions_of(kLines[d - 1]);
  return all;
}

}  // namespace

std::uint32_t sobol(std::uint32_t index, std::size_t dimension) {
  static const auto all = all_directions();
  require(dimension < kSobolDimensions, "there are ", kSobolDimensions, " Sobol dimensions and not ", dimension + 1);
  const std::uint32_t gray = index ^ (index >> 1);
  std::uint32_t value = 0;
  for (std::uint32_t k = 0; k < kBits; ++k)
    if ((gray >> k) & 1) value ^= all[dimension][k];
  return value;
}

std::uint32_t owen_scrambled(std::uint32_t value, std::uint64_t key) {
  std::uint32_t scrambled = 0;
  for (std::uint32_t bit = 0; bit < kBits; ++bit) {
    const std::uint64_t above = (std::uint64_t{1} << bit) | (bit == 0 ? 0 : value >> (kBits - bit));
    const auto coin = static_cast<std::uint32_t>(derive(key, above) & 1);
    scrambled = (scrambled << 1) | (((value >> (kBits - 1 - bit)) & 1) ^ coin);
  }
  return scrambled;
}

}  // namespace hopyard
