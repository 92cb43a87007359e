// A group as a ProcessGroupGloo of its members. Internal; WorkerEnd::open_group makes it.
#pragma once

#include <string>

#include "transport/transport.h"

namespace hopyard {

/// Meets the others through the store, and connects to them from an address of this machine. At most `order.open_s`,
/// and a second.
OpenedGroup open_gloo_group(const Endpoint& store, const std::string& bind_address, const WorkerId& self,
                            const GroupOrder& order);

}  // namespace hopyard
