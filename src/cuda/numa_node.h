// Which node of a machine's memory is near a card, and how memory comes to lie there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"

namespace hopyard {

/// The NUMA node that the card at this bus ("0000:3B:00.0") hangs on; nothing where the machine has memory in one node
/// only, the node has none, or the kernel does not say. `sysfs`: a folder as /sys.
std::optional<std::uint32_t> numa_node_of_card(const std::string& bus_id, const std::string& sysfs = "/sys");

/// Pages of this memory that nobody has touched yet come from the node, as long as it has any. `data` begins a page.
/// False when the kernel refuses, as for a process that may not choose: it then chooses as ever.
bool prefer_numa_node(void* data, Bytes bytes, std::uint32_t node) noexcept;

}  // namespace hopyard
