// Putting text together, and sizes, rates and durations as people write them.
#pragma once

#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace hopyard::text {

template <class... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// "256MiB" → bytes. Units: B, KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB. No unit, a sign or overflow:
/// nothing.
std::optional<Bytes> parse_bytes(std::string_view text);
/// "4GiB/s" → bytes per second.
std::optional<double> parse_rate(std::string_view text);
/// "30s", "5min", "10ms", "2h" → seconds.
std::optional<double> parse_duration(std::string_view text);

/// 1536 → "1.50 KiB"; exact powers print without decimals.
std::string format_bytes(Bytes bytes);
/// Seconds as "1.24 s", "350 ms", "12 µs" or "1 h 05 min".
std::string format_seconds(double seconds);
/// Fixed decimals.
std::string format_number(double value, int decimals);

std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::vector<std::string> split(std::string_view text, char separator);

/// The word of `words` nearest to `word` by edit distance; empty when all are further than half of its length.
std::string nearest(std::string_view word, const std::vector<std::string>& words);

}  // namespace hopyard::text
