// The time of day, for people to read and never to decide by. Part of the door to time (clock.h).
#pragma once

#include <string>

namespace hopyard {

/// Seconds since 1970, as the machine's clock has it.
double wall_seconds();
/// "2026-11-26 14:02:11", local.
std::string format_wall_time(double seconds);

}  // namespace hopyard
