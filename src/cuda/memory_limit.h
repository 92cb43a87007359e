// How much memory the system lets this process have.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"

namespace hopyard {

/// What the kernel says it could give to a process now without swapping; nothing where it does not say.
std::optional<Bytes> available_memory(const std::string& meminfo = "/proc/meminfo");

/// The least of the memory limits of this process's control group and those above it; nothing where there is none.
/// `root`: where the groups are; `own`: a file as /proc/self/cgroup. Both versions of control groups.
std::optional<Bytes> cgroup_memory_limit(const std::string& root = "/sys/fs/cgroup",
                                         const std::string& own = "/proc/self/cgroup");

}  // namespace hopyard
