// The one door to time. Everything else asks these functions, so that a reader can find who waits and who looks at
// clocks.
#pragma once

#include <cstdint>

namespace hopyard {

/// Seconds since an arbitrary start; never goes back. Safe from any thread.
double monotonic_seconds();
/// Blocks the calling thread; sub-millisecond waits are kept to within about 0.1 ms.
void sleep_seconds(double seconds);

}  // namespace hopyard
