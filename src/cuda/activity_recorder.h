// Keeps a record of what the cards do, for as long as somebody wants to know.
#pragma once

#include <memory>
#include <string>

#include "cuda/activity.h"

namespace hopyard {

class ActivityRecorder {
 public:
  virtual ~ActivityRecorder() = default;  ///< stops, if stop() did not
  /// What was kept since it was made, of all cards. Work that is still under way is left out: synchronise before.
  virtual ActivityLog stop() = 0;
};

/// One at a time in a process; each kernel then costs the host some 2 µs more. Null and why not: a build without CUDA
/// or CUPTI, another recorder, or a driver that refuses (as in containers, or under another tool that does the same).
std::unique_ptr<ActivityRecorder> record_activity(std::string& why_not);

}  // namespace hopyard
