// Where the host tier's memory comes from: devices copy faster to and from memory that is pinned for them.
#pragma once

#include <cstddef>

#include "base/bytes.h"

namespace hopyard {

/// Thread-safe. Must outlive what it gave.
class HostMemory {
 public:
  virtual ~HostMemory() = default;
  /// Aligned to 4 KiB, contents undefined; null when it has no such piece left. Requires a multiple of 4 KiB.
  virtual std::byte* map(Bytes bytes) = 0;
  virtual void unmap(std::byte* data, Bytes bytes) = 0;
};

}  // namespace hopyard
