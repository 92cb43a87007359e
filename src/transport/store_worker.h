// A worker's end over the coordinator's TCPStore. Internal; open.h makes it.
#pragma once

#include "transport/open.h"

namespace hopyard {

JoinResult join_store(const LaunchSpec& launch, const TransportOptions& options, double timeout_s);

}  // namespace hopyard
