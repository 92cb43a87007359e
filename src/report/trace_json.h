// trace.json: Chrome's trace event format, which Perfetto and chrome://tracing open.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "base/trace.h"

namespace hopyard {

/// Whose trace it is, in a run of several workers: its processes are "worker 1 emulated:0", and its times those of the
/// machine's clock, so that traces of one machine fit together.
struct TraceWorker {
  std::uint32_t rank = 0;
  std::vector<std::string> others =
      {};  ///< files of other workers, whose events are taken in if they are of this machine
};

/// One process for each device (the track's name before the first '/'), one thread for each track; counts are of the
/// process. Times start at the first slice or count. Written event by event. `tracks[slice.track]` names a slice's
/// track.
void write_trace(std::ostream& out, const std::vector<std::string>& tracks, const std::vector<TraceSlice>& slices,
                 const std::vector<TraceCount>& counts, const std::optional<TraceWorker>& worker = {});
/// Writes beside `path` and renames. Not made durable: it can be had again by running again.
void write_trace_file(const std::string& path, const TraceRecorder& recorder,
                      const std::optional<TraceWorker>& worker = {});

}  // namespace hopyard
