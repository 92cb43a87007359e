// Bulk bytes between workers by NCCL. A build without it has this header too, and says why.
#pragma once

#include <memory>

#include "transport/transport.h"

namespace hopyard {

/// What links and groups of a worker hold of the card's budget, and again of host memory, at most. NCCL's own buffers
/// are beside the budget.
constexpr Bytes kNcclStagingBytes = 8 * kChunksInFlight * kChunkBytes;

/// An end whose links and groups move their bulk between card `card` and the cards of other workers, whose ends must be
/// made so as well; where that cannot be, they stay with what `inner` opens, and a warning says why. `budget`: of the
/// card's device, DeviceSpec::memory.
std::unique_ptr<WorkerEnd> make_cuda_end(std::unique_ptr<WorkerEnd> inner, std::uint32_t card, Bytes budget);

}  // namespace hopyard
