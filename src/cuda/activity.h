// What a card did, by its own record: how long kernels ran, how long copies did, and how much of both at once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/trace.h"

namespace hopyard {

enum class ActivityKind : std::uint8_t {
  kernel,
  to_card,  ///< copies from host memory
  to_host,
  on_card,  ///< copies within a card or between two, and fills
};

/// One thing that a card did. Times are monotonic_seconds().
struct ActivityRecord {
  ActivityKind kind = ActivityKind::kernel;
  std::uint32_t card = 0;    ///< of those that the process sees
  std::uint32_t stream = 0;  ///< as CUPTI numbers them
  std::uint32_t name = 0;    ///< of a kernel: index into ActivityLog::names
  double begin_s = 0, end_s = 0;
  Bytes bytes = 0;
};

struct ActivityLog {
  std::vector<ActivityRecord> records;  ///< in no order
  std::vector<std::string> names;
  double begin_s = 0, end_s = 0;  ///< when it was kept
  std::uint64_t dropped = 0;      ///< records that did not fit: what is said of them is too little
};

/// Pieces of time that neither touch nor overlap, in order.
using Intervals = std::vector<std::pair<double, double>>;
/// What any of the pieces covers. Those without length count as nothing.
Intervals united(Intervals pieces);
/// What both cover.
Intervals common(const Intervals& a, const Intervals& b);
double length_of(const Intervals& intervals);

struct StreamActivity {
  std::uint32_t stream = 0;
  double kernel_s = 0, copy_s = 0;
  bool operator==(const StreamActivity&) const = default;
};

/// Seconds in which at least one such thing was going on. Copies: to the card and to the host.
struct CardActivity {
  double wall_s = 0;
  double kernel_s = 0, to_card_s = 0, to_host_s = 0, on_card_s = 0;
  double copy_s = 0;        ///< either way
  double both_ways_s = 0;   ///< both ways at once
  double overlapped_s = 0;  ///< kernels and copies at once
  double idle_s = 0;        ///< nothing at all
  Bytes to_card = 0, to_host = 0;
  std::vector<StreamActivity> streams;  ///< by number
};
/// Of one card from `begin_s` to `end_s`; what reaches over an end is cut there, but for its bytes.
CardActivity card_activity(std::span<const ActivityRecord> records, std::uint32_t card, double begin_s, double end_s);

struct KernelTime {
  std::string name;
  std::uint64_t launches = 0;
  double seconds = 0;
};
/// The kernels of a card that took longest together, longest first.
std::vector<KernelTime> longest_kernels(const ActivityLog& log, std::uint32_t card, std::size_t count);

/// Shows it beside the engine's own slices, on tracks "cuda:0/gpu stream 7". What follows on a stream within `join_s`
/// becomes one slice, so that millions of kernels can be shown.
void add_to_trace(const ActivityLog& log, double join_s, TraceRecorder& trace);

/// Moments of two clocks: the card's nanoseconds as our seconds.
class ClockMap {
 public:
  struct Pair {
    std::uint64_t theirs_ns = 0;
    double ours_s = 0;
  };
  /// Read at the begin and at the end; between and beyond them, both clocks run evenly.
  ClockMap(Pair begin, Pair end);
  double seconds(std::uint64_t theirs_ns) const;

 private:
  Pair begin_;
  double seconds_per_ns_ = 1e-9;
};

}  // namespace hopyard
