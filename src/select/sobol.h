// Points of Sobol's low-discrepancy sequence; private to this folder.
#pragma once

#include <cstdint>

namespace hopyard {

/// So many dimensions have direction numbers here.
inline constexpr std::size_t kSobolDimensions = 40;

/// Coordinate `dimension` of point `index` of the sequence, as a fraction of 2^32. Points come in the Gray-code order
/// of Antonov and Saleev, as in most programs; direction numbers are those of Joe and Kuo, "Constructing Sobol
/// sequences with better two-dimensional projections", SIAM J. Sci. Comput. 30 (2008), table new-joe-kuo-6.
std::uint32_t sobol(std::uint32_t index, std::size_t dimension);

/// Owen's nested uniform scrambling ("Randomly permuted (t,m,s)-nets and (t,s)-sequences", 1995) in base 2: each bit is
/// flipped or not by a coin that the key and all bits above it decide. Keeps every property of the net.
std::uint32_t owen_scrambled(std::uint32_t value, std::uint64_t key);

}  // namespace hopyard
