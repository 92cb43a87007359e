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

bool TraceRecorder::has_room() {
  if (slices_.size() + counts_.size() < capacity_) return true;
  ++dropped_;
  return false;
}

void TraceRecorder::add(TraceSlice slice) {
  const std::lock_guard lock(mutex_);
  if (has_room()) slices_.push_back(std::move(slice));
}

void TraceRecorder::add(TraceCount count) {
  const std::lock_guard lock(mutex_);
  if (has_room()) counts_.push_back(std::move(count));
}

std::vector<TraceSlice> TraceRecorder::slices() const {
  const std::lock_guard lock(mutex_);
  return slices_;
}

std::vector<TraceCount> TraceRecorder::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
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
