// Names for stretches of the host's work, which NVIDIA's profilers show above the kernels that were asked for in them.
#pragma once

#include <string>

namespace hopyard {

/// From here to the end of the scope, on the calling thread; scopes nest. Costs nothing to speak of where no profiler
/// listens, and nothing in a build without CUDA.
class ProfilerRange {
 public:
  explicit ProfilerRange(const std::string& name);
  ~ProfilerRange();
  ProfilerRange(const ProfilerRange&) = delete;
};

}  // namespace hopyard
