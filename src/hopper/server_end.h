// The members' ends of a server with bounded staleness, over links between the first member and each other one.
//
// In a step at most 2 · (members − 1) · m bytes travel, for m bytes of gradients, and at the end of a visit the moments
// to each other member. The server's member is its bottleneck.
#pragma once

#include "hopper/link_exchange.h"
#include "pipeline/step_server.h"

namespace hopyard {

struct OpenedServer {
  std::shared_ptr<ServerEnd> end;  ///< null on failure
  std::string error;
};

/// Opens this member's links. Blocks until they are there or `open_s` has passed. The worker outlives the end.
OpenedServer open_server_end(WorkerEnd& worker, const ExchangeOrder& order);

}  // namespace hopyard
