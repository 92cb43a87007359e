// Which pairs of workers do not reach each other, as far as the ends of their hops have shown.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

namespace hopyard {

/// Both may be alive and reach the coordinator while no link opens between them (a partial partition): states then go
/// by way of a third. A link that failed to open several times, with no state arriving between, counts as cut, and is
/// tried again after a while. A plain value, without a clock: times are seconds of any monotonic one. Not thread-safe.
class CutLinks {
 public:
  static constexpr std::uint32_t kFailures = 2;
  static constexpr double kRestSeconds = 60;

  /// A state came over it.
  void worked(std::uint32_t one, std::uint32_t other) { failures_.erase(pair(one, other)); }
  /// It did not open. True when it counts as cut from now on, and did not before.
  bool failed(std::uint32_t one, std::uint32_t other, double now_s) {
    Failures& failures = failures_[pair(one, other)];
    const bool was_cut = is_cut(failures, now_s);
    ++failures.count;
    failures.last_s = now_s;
    return !was_cut && is_cut(failures, now_s);
  }
  /// The worker is gone: what comes in its place is another one.
  void forget(std::uint32_t worker) {
    std::erase_if(failures_, [&](const auto& one) { return one.first.first == worker || one.first.second == worker; });
  }

  bool cut(std::uint32_t one, std::uint32_t other, double now_s) const {
    const auto found = failures_.find(pair(one, other));
    return found != failures_.end() && is_cut(found->second, now_s);
  }
  /// It failed last, however long ago.
  bool doubted(std::uint32_t one, std::uint32_t other) const { return failures_.contains(pair(one, other)); }

 private:
  struct Failures {
    std::uint32_t count = 0;  ///< in a row
    double last_s = 0;
  };

  static std::pair<std::uint32_t, std::uint32_t> pair(std::uint32_t one, std::uint32_t other) {
    return std::minmax(one, other);
  }
  static bool is_cut(const Failures& failures, double now_s) {
    return failures.count >= kFailures && now_s - failures.last_s < kRestSeconds;
  }

  std::map<std::pair<std::uint32_t, std::uint32_t>, Failures> failures_;
};

}  // namespace hopyard
