// Opens the real transport: control messages over a TCPStore that the coordinator hosts, bulk bytes over Gloo.
//
// TCPStore's calls may hang for as long as its server is stopped, whatever their timeouts say. So each of its clients
// belongs to one thread that may be given up (what waits there is TCPStore::wait, woken now and then), and what others
// wait for are queues in this process, by the clock. The store listens on one address only. Its protocol knows no
// secrets: a stranger on the port can neither join nor speak for a worker, but can disturb (delete keys, send rubbish),
// which ends in an error. Do not open the port to people whom you do not trust.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "transport/launch.h"
#include "transport/transport.h"

namespace hopyard {

/// A hash that nobody can compute without the key (HMAC or a keyed hash), 8 to 64 bytes. Any thread.
using KeyedHash = std::function<std::string(std::string_view key, std::string_view bytes)>;

/// What all workers of an experiment have in common. A joiner that differs is turned away with a sentence.
struct Membership {
  std::string secret;
  KeyedHash hash;
  std::string version;     ///< of Hopyard
  std::string experiment;  ///< parts, with ; between them; who is turned away hears which differ
};

struct TransportOptions {
  Membership membership;
  /// Name or address of this machine on which store and links listen. Loopback unless told otherwise.
  std::string bind_address = "127.0.0.1";
  LivenessBounds liveness;
  /// Incarnations given by the coordinator are above this: the highest that any earlier coordinator has given.
  std::uint64_t incarnations_before = 0;
};

/// Listens on MASTER_ADDR:MASTER_PORT (an address of this machine; when it is not loopback, `bind_address` must have
/// opened it). Under an agent that has the store there: on bind_address and a free port, told through the agent's
/// store. Failure(usage) where the address is not ours or not known, or the port in use.
std::unique_ptr<CoordinatorEnd> open_coordinator(const LaunchSpec& launch, const TransportOptions& options);

struct JoinResult {
  std::unique_ptr<WorkerEnd> worker;  ///< null unless joined
  bool refused = false;               ///< by the coordinator: trying again is in vain
  std::string error;                  ///< a sentence: why it was refused, or who is not there
};
/// Finds the coordinator, answers its challenge and waits to be let in, for at most `timeout_s` (and a second).
JoinResult join_experiment(const LaunchSpec& launch, const TransportOptions& options, double timeout_s);

}  // namespace hopyard
