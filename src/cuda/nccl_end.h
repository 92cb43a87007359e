// A worker's end whose bulk bytes go from card to card by NCCL.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cuda/nccl_calls.h"
#include "transport/transport.h"

namespace hopyard {

/// What it takes here; or, in `why_not`, why it lacks.
struct NcclParts {
  std::shared_ptr<CudaCalls> calls;
  std::shared_ptr<NcclCalls> nccl;
  std::string card;     ///< names the card among all machines'
  std::string why_not;  ///< a sentence; empty when all is here
};

/// Around another end. Its links and groups are opened first; over these, ends tell each other what they have, and in
/// which communicators they meet. What then goes over NCCL are chunks of transfers that are not small, and sums of
/// many values; all else, and the word that a chunk may come, goes over the link or group beneath, which breaks with
/// this one. Where NCCL cannot be had at one end, all use what is beneath, and `warn` is told why, once for each
/// reason. Members that could not connect once are not waited for again, as long as all of them live.
///
/// All ends must be so: with one that is not, opening fails. Opening takes up to three of `stall_s` longer. A chunk
/// goes host memory → pinned staging (NcclStagings) → card → card → pinned staging → host memory.
std::unique_ptr<WorkerEnd> make_nccl_end(std::unique_ptr<WorkerEnd> inner, NcclParts parts,
                                         std::function<void(const std::string&)> warn);

}  // namespace hopyard
