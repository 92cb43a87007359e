#include "transport/transport.h"

#include "base/text.h"

namespace hopyard {

std::string to_string(const WorkerId& worker) { return text::cat("worker ", worker.rank, ".", worker.incarnation); }

std::string to_string(const Endpoint& endpoint) {
  const bool six = endpoint.host.find(':') != std::string::npos;
  return six ? text::cat('[', endpoint.host, "]:", endpoint.port) : text::cat(endpoint.host, ':', endpoint.port);
}

}  // namespace hopyard
