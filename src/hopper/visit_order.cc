#include "hopper/visit_order.h"

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard {

std::uint32_t visited_partition(std::uint64_t order_seed, std::uint32_t epoch, std::uint32_t visit,
                                std::uint32_t partitions) {
  require(visit < partitions, "visit ", visit, " of ", partitions, " partitions");
  const auto rotation = static_cast<std::uint32_t>(derive(order_seed, "visits") % partitions);
  return static_cast<std::uint32_t>((std::uint64_t{rotation} + epoch + visit) % partitions);
}

}  // namespace hopyard
