#include "transport/open.h"

#include "transport/store_coordinator.h"
#include "transport/store_worker.h"

namespace hopyard {

std::unique_ptr<CoordinatorEnd> open_coordinator(const LaunchSpec& launch, const TransportOptions& options) {
  return make_store_coordinator(launch, options);
}

JoinResult join_experiment(const LaunchSpec& launch, const TransportOptions& options, double timeout_s) {
  return join_store(launch, options, timeout_s);
}

}  // namespace hopyard
