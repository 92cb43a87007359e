// TCPStore as this folder uses it. Internal: it includes libtorch.
//
// Each client belongs to one LooseThread. Queues are TCPStore's own (libuv backend): one reader each, values are taken
// by popping them, so that nothing is left behind.
#pragma once

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <atomic>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "transport/sockets.h"

namespace hopyard {

using Store = c10::intrusive_ptr<c10d::TCPStore>;

/// TCPStore's own timeout, of calls that should find what they ask for, and of a reader's wait for its queue.
constexpr double kStoreSeconds = 5;
/// Between two ticks of a queue.
constexpr double kTickSeconds = 1;
static_assert(kTickSeconds < kStoreSeconds / 2);

/// The store itself, listening on the socket, with a client of its own. Throws what c10d throws.
Store host_store(ListeningSocket& socket);
/// Tries until somebody listens, for at most `seconds`. Null, and a sentence in `error` (else empty), when nobody does.
/// To be called on a thread that may be given up: whoever listens may never answer.
Store connect_store(const Endpoint& endpoint, double seconds, std::string& error);

void push(const Store& store, const std::string& queue, std::string_view value);
/// Takes the values of a queue but for ticks, until `ended`, `until_s` (monotonic_seconds) or the connection breaks;
/// says why it broke, or nothing.
std::string fetch(const Store& store, const std::string& queue, const std::atomic<bool>& ended,
                  const std::function<void(std::string_view)>& take,
                  double until_s = std::numeric_limits<double>::infinity());
/// Wakes the reader of a queue, so that it sees that it should end, and at the first beat after kTickSeconds: a wait
/// that times out costs lines on standard error.
inline void tick(const Store& store, const std::string& queue) { push(store, queue, ""); }
/// Throws away what is in a queue.
void drain(const Store& store, const std::string& queue);
/// The value of a key, polled every 20 ms for at most `seconds`.
std::optional<std::string> poll_key(const Store& store, const std::string& key, double seconds);
void put(const Store& store, const std::string& key, std::string_view value);

/// What c10d's and Gloo's exceptions say, without source positions and stack traces.
std::string plain_text(const std::exception& error);

/// Names in the store.
namespace names {
inline const std::string kChallenge = "challenge", kInbox = "inbox", kBeats = "beats", kPulse = "pulse";
inline std::string mailbox(const std::string& nonce) { return "mail/" + nonce; }
/// In the agent's store.
std::string endpoint_key(std::uint32_t restarts);
}  // namespace names

}  // namespace hopyard
