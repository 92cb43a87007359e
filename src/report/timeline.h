// Slices as a picture can show them: as many as there are pixels, however many there were.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/trace.h"

namespace hopyard {

/// One slice, or several neighbours of one track that are too short to be seen alone.
struct DisplaySlice {
  std::uint32_t track = 0;
  bool idle = false;  ///< work and idle gaps are merged apart
  std::string owner;  ///< the trial, or for idle the cause, that has most of the time
  std::string name;   ///< of the slice, when it is one
  double begin_s = 0, end_s = 0;
  double covered_s = 0;  ///< sum of the lengths of what was merged
  std::uint64_t bytes = 0;
  std::size_t count = 0;
};

/// Neighbours that fit together into 1/`resolution` of the whole time become one: at most 2·resolution + 1 for each
/// track's work, and as many for its gaps. Ordered by track, work before gaps, then by time.
std::vector<DisplaySlice> merge_for_display(const std::vector<TraceSlice>& slices, std::size_t resolution);

/// Begin of the first slice and end of the last.
struct TimeSpan {
  double begin_s = 0, end_s = 0;
};
TimeSpan span_of(const std::vector<TraceSlice>& slices);

/// "t03" of "t03/s1/backward".
std::string owner_of(const TraceSlice& slice);

}  // namespace hopyard
