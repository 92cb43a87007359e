// Recording what happened when: slices on named tracks, and why a track was idle. Writers are in report.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace hopyard {

/// Something that took time on a track ("emulated:0/compute"). Times are monotonic_seconds().
struct TraceSlice {
  std::uint32_t track = 0;
  std::string name;      ///< "t03/s1/backward"
  std::string category;  ///< "compute", "load", "store", "disk", "hop", or "idle" with the cause as name
  double begin_s = 0;
  double end_s = 0;
  std::uint64_t bytes = 0;
};

/// What a quantity of a track's device was from a moment on: "power, W". Times are monotonic_seconds().
struct TraceCount {
  std::uint32_t track = 0;
  std::string name;
  double at_s = 0;
  double value = 0;
};

/// Keeps slices and counts in memory, at most `capacity` of both; what comes later is counted and dropped. Safe from
/// any thread.
class TraceRecorder {
 public:
  explicit TraceRecorder(std::size_t capacity = 1'000'000) : capacity_(capacity) {}
  /// The id of the track with this name; made at the first call.
  std::uint32_t track(const std::string& name);
  void add(TraceSlice slice);
  void add(TraceCount count);
  std::vector<TraceSlice> slices() const;
  std::vector<TraceCount> counts() const;
  std::vector<std::string> tracks() const;
  std::size_t dropped() const;

 private:
  bool has_room();

  const std::size_t capacity_;
  mutable std::mutex mutex_;  // guards all below
  std::vector<std::string> tracks_;
  std::vector<TraceSlice> slices_;
  std::vector<TraceCount> counts_;
  std::size_t dropped_ = 0;
};

}  // namespace hopyard
