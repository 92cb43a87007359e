// Addresses and the two things that TCPStore does not do well: listening on one address, and saying who is not there.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "transport/transport.h"

namespace hopyard {

/// Numeric addresses of a name, in the resolver's order; empty, and why in `error`, when there are none. May take as
/// long as the resolver does.
std::vector<std::string> resolve(const std::string& name, std::string& error);
bool is_loopback(const std::string& numeric_host);

/// Lets a write to a connection that the other end has closed fail instead of ending the process, unless somebody else
/// handles SIGPIPE: c10d and Gloo count on Python for it.
void ignore_broken_pipes();

/// A bound, listening socket; closed with the object unless somebody took it. Move-only.
class ListeningSocket {
 public:
  /// Port 0: any that is free. Failure(usage) names address and port, and what is wrong with them.
  explicit ListeningSocket(Endpoint endpoint);
  ListeningSocket(const ListeningSocket&) = delete;
  ~ListeningSocket();
  const Endpoint& endpoint() const { return endpoint_; }
  /// The file descriptor, which now belongs to the caller.
  int take();

 private:
  Endpoint endpoint_;
  int descriptor_ = -1;
};

/// Whether one could listen there, on any port: empty, or else why not, as the system puts it.
std::string try_to_listen(const std::string& numeric_host);

/// Those of this process, by inode: descriptors are used again.
std::set<std::uint64_t> open_sockets();

/// So long what is sent, or asked whether it is there, may go unanswered by the other machine.
constexpr int kUnansweredSeconds = 15;

/// Of connections that c10d makes, and gives nobody a hold of: the TCP connections of this process that are none of
/// `before`. From now on they fail when nothing is answered for kUnansweredSeconds and a little, as where a cable is
/// pulled, instead of minutes later; and those from one address of this machine to the same are not paced, which some
/// systems' congestion control does (BBR) as if there were a network to share. What the system refuses is left as it
/// is.
void tune_connections(const std::set<std::uint64_t>& before);

/// Tries to connect for at most `seconds`. Empty when somebody accepts, else why not, as the system puts it.
std::string try_to_connect(const Endpoint& endpoint, double seconds);

}  // namespace hopyard
