// How many bytes a trial whose window is smaller than its state writes to disk in a step.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// One task of a step: the blobs that it needs, and those of them that it changes. Ascending.
struct BlobUse {
  std::vector<std::uint32_t> needed, changed;
};

/// Runs the tasks round and round through a window that evicts what is needed latest (Belady, IBM Systems Journal
/// 1966), as BlobCache does, and counts what is written back in a round once it has settled. `bytes`: of each blob.
Bytes spilled_per_round(const std::vector<BlobUse>& tasks, const std::vector<Bytes>& bytes, Bytes window);

}  // namespace hopyard
