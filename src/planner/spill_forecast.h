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

/// Runs the tasks round and round through a window as the engine and BlobCache do, with a disk that takes no time: the
/// blobs of the task that computes, of the next and (until it is stored) of the last are pinned, those of
/// `prefetch_tasks` more are fetched where that evicts nothing needed soon, and otherwise goes what is needed latest
/// (Belady, IBM Systems Journal 1966). Returns what is written back in a round, as the mean of several once it has
/// settled. `bytes`: of each blob. Requires that each task fits the window.
Bytes spilled_per_round(const std::vector<BlobUse>& tasks, const std::vector<Bytes>& bytes, Bytes window,
                        std::uint32_t prefetch_tasks);

}  // namespace hopyard
