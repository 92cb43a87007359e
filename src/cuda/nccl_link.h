// A link whose chunks go from card to card. Internal; NcclEnd::open_link makes it.
#pragma once

#include <memory>

#include "cuda/nccl_passage.h"
#include "transport/traffic_counter.h"

namespace hopyard {

/// Transfers of fewer bytes go over the link beneath whole, which takes no longer.
constexpr Bytes kNcclBytesLeast = 256 * KiB;

/// Lanes of a link, connected: one for what this end sends, and one for what it receives. In each there is one transfer
/// at a time; others, at the same time and the same way, go over the link beneath.
struct NcclLanes {
  NcclLane sending, receiving;
};
std::unique_ptr<Link> make_nccl_link(std::unique_ptr<Link> inner, NcclLanes lanes, const LinkOrder& order,
                                     int peer_member, std::shared_ptr<TrafficCounter> traffic);

/// A value over a link, as a transfer of its own. Throws std::runtime_error.
template <class Value>
void say(Link& link, std::uint32_t tag, const Value& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  const auto sent = link.send({tag, sizeof value}, {[&](Bytes, Bytes) { return bytes; }, {}});
  if (!sent.ok()) throw std::runtime_error(sent.error);
}
/// Heard when `accept` says true of it, if there is one; otherwise the link breaks.
template <class Value>
Value hear(Link& link, std::uint32_t tag, const std::function<bool(const Value&)>& accept = {}) {
  Value value{};
  const auto bytes = std::as_writable_bytes(std::span(&value, 1));
  const auto received =
      link.receive({tag, sizeof value}, {[&](Bytes, Bytes) { return bytes; },
                                         [&](Bytes, std::span<const std::byte>) { return !accept || accept(value); }});
  if (!received.ok()) throw std::runtime_error(received.error);
  return value;
}

}  // namespace hopyard
