// The coordinator's end over a TCPStore that it hosts. Internal; open.h makes it.
#pragma once

#include <memory>

#include "transport/open.h"

namespace hopyard {

std::unique_ptr<CoordinatorEnd> make_store_coordinator(const LaunchSpec& launch, const TransportOptions& options);

}  // namespace hopyard
