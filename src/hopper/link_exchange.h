// Steps that several workers compute, over links: gradients are added in the order of micro-batches along a chain of
// members, and the sums go back round.
//
// Member 0's sum goes to member 1, which adds its own, and so on; the last member has the whole sum, which goes to
// member 0 and on from there. Chunks follow each other closely, over all parts of a call, so that all links work at
// once, both ways where there are two members. Of n bytes of gradients 2 · (members − 1) · n bytes travel in a step: as
// many as any way to give each member the sum of all by way of one, and as a ring all-reduce.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pipeline/step_exchange.h"
#include "transport/transport.h"

namespace hopyard {

/// Whoever is first at a step waits so long for the slowest member, unless the coordinator finds that one dead before:
/// then the visit is abandoned, and the exchange cancelled.
constexpr double kMemberWaitSeconds = 600;

/// The members of a visit, the same at all of them but for `member`.
struct ExchangeOrder {
  std::vector<WorkerId> members;  ///< at least two, in their order
  std::uint32_t member = 0;       ///< this one's place among them
  std::uint64_t number = 0;       ///< of its links: never used before by any two of them (LinkOrder::number)
  double open_s = 5;              ///< so long to wait for a neighbour's end
  double wait_s = kMemberWaitSeconds;
};
struct OpenedExchange {
  std::shared_ptr<StepExchange> exchange;  ///< null on failure
  std::string error;
};

/// Opens this member's links to its neighbours. Blocks until they are there or `open_s` has passed. The worker outlives
/// the exchange.
OpenedExchange open_link_exchange(WorkerEnd& worker, const ExchangeOrder& order);

}  // namespace hopyard
