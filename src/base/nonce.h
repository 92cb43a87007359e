// The one door to randomness that nobody can foresee: for challenges, never for results.
#pragma once

#include <cstddef>
#include <string>

namespace hopyard {

/// So many random bytes as lower-case hexadecimal digits. Safe from any thread.
std::string random_hex(std::size_t bytes);

}  // namespace hopyard
