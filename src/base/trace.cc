#include "base/trace.h"

#include <algorithm>

namespace hopyard {

std::uint32_t TraceRecorder::track(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(tracks_.begin(), tracks_.end(), name);
  if (found != tracks_.end()) return static_cast<std::uint32_t>(found - tracks_.begin());
  tracks_.push_back(name);
  return static_cast<std::uint32_t>(tracks_.size() - 1);
}

void TraceRecorder::add(TraceSlice slice) {
  const std::lock_guard lock(mutex_);
  if (slices_.size() >= capacity_) {
    ++dropped_;
    return;
  }
  slices_.push_back(std::move(slice));
}

std::vector<TraceSlice> TraceRecorder::slices() const {
  const std::lock_guard lock(mutex_);
  return slices_;
}

std::vector<std::string> TraceRecorder::tracks() const {
  const std::lock_guard lock(mutex_);
  return tracks_;
}

std::size_t TraceRecorder::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

}  // namespace hopyard
