// How much memory the system lets this process have.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"

namespace hopyard {

/// The least of the memory limits of this process's control group and those above it; nothing where there is none.
/// `root`: where the groups are; `own`: a file as /proc/self/cgroup. Both versions of control groups.
std::optional<Bytes> cgroup_memory_limit(const std::string& root = "/sys/fs/cgroup",
                                         const std::string& own = "/proc/self/cgroup");

}  // namespace hopyard
