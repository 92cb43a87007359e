// trace.json: Chrome's trace event format, which Perfetto and chrome://tracing open.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "base/trace.h"

namespace hopyard {

/// One process for each device (the track's name before the first '/'), one thread for each track. Times start at the
/// first slice. Written event by event. `tracks[slice.track]` names a slice's track.
void write_trace(std::ostream& out, const std::vector<std::string>& tracks, const std::vector<TraceSlice>& slices);
/// Writes beside `path` and renames. Not made durable: it can be had again by running again.
void write_trace_file(const std::string& path, const TraceRecorder& recorder);

}  // namespace hopyard
