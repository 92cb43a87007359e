// A link as a ProcessGroupGloo of two. Internal; WorkerEnd::open_link makes it.
#pragma once

#include <memory>

#include "transport/traffic_counter.h"

namespace hopyard {

/// Meets the peer through the store, and connects to it from an address of this machine. At most `order.open_s`, and a
/// second.
OpenedLink open_gloo_link(const Endpoint& store, const std::string& bind_address, const WorkerId& self,
                          const LinkOrder& order, std::shared_ptr<TrafficCounter> traffic);

}  // namespace hopyard
