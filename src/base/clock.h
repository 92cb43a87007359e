// The one door to time. Everything else asks these functions, so that a reader can find who waits and who looks at
// clocks.
#pragma once

#include <string>

namespace hopyard {

/// Seconds since an arbitrary start; never goes back. Safe from any thread.
double monotonic_seconds();
/// Seconds since 1970, as the machine's clock has it: for people to read, never to decide by.
double wall_seconds();
/// "2026-11-26 14:02:11", local.
std::string format_wall_time(double seconds);
/// Blocks the calling thread; sub-millisecond waits are kept to within about 0.1 ms.
void sleep_seconds(double seconds);

}  // namespace hopyard
