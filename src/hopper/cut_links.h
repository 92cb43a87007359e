// Which pairs of workers do not reach each other, as far as the ends of their hops have shown.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

namespace hopyard {

/// Both may be alive and reach the coordinator while the link between them is cut (a partial partition): states then go
/// by way of a third. A link that broke several times with nothing arriving between counts as cut, and is tried again
/// after a while. A plain value, without a clock: times are seconds of any monotonic one. Not thread-safe.
class CutLinks {
 public:
  static constexpr std::uint32_t kBreaks = 2;
  static constexpr double kRestSeconds = 60;

  void worked(std::uint32_t one, std::uint32_t other) { breaks_.erase(pair(one, other)); }
  /// True when it counts as cut from now on, and did not before.
  bool broke(std::uint32_t one, std::uint32_t other, double now_s) {
    Breaks& breaks = breaks_[pair(one, other)];
    const bool was_cut = is_cut(breaks, now_s);
    ++breaks.count;
    breaks.last_s = now_s;
    return !was_cut && is_cut(breaks, now_s);
  }
  bool cut(std::uint32_t one, std::uint32_t other, double now_s) const {
    const auto found = breaks_.find(pair(one, other));
    return found != breaks_.end() && is_cut(found->second, now_s);
  }

 private:
  struct Breaks {
    std::uint32_t count = 0;  ///< in a row
    double last_s = 0;
  };

  static std::pair<std::uint32_t, std::uint32_t> pair(std::uint32_t one, std::uint32_t other) {
    return std::minmax(one, other);
  }
  static bool is_cut(const Breaks& breaks, double now_s) {
    return breaks.count >= kBreaks && now_s - breaks.last_s < kRestSeconds;
  }

  std::map<std::pair<std::uint32_t, std::uint32_t>, Breaks> breaks_;
};

}  // namespace hopyard
