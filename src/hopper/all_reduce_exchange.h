// Steps that several workers compute, by the transport's own all-reduce: a baseline. All members end with the same
// bits, which are not those of one process.
#pragma once

#include "hopper/link_exchange.h"

namespace hopyard {

/// Opens the group of the members. Blocks until all are there or `open_s` has passed. The worker outlives the exchange.
/// Its traffic is what a ring all-reduce moves (Patarasuk & Yuan, 2009), since the transport does not say.
OpenedExchange open_all_reduce_exchange(WorkerEnd& worker, const ExchangeOrder& order);

}  // namespace hopyard
