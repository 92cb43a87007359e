// The experiment that tests of the transport belong to.
#pragma once

#include <string>

#include "base/rng.h"
#include "transport/open.h"

namespace hopyard {

/// Keyed, which is all that tests need; no hash to keep a secret with.
inline std::string test_hash(std::string_view key, std::string_view bytes) {
  const std::uint64_t low = derive(derive(1, key), bytes), high = derive(low, bytes);
  return std::string(reinterpret_cast<const char*>(&low), sizeof low) +
         std::string(reinterpret_cast<const char*>(&high), sizeof high);
}

inline TransportOptions test_options() {
  TransportOptions options;
  options.membership = {"a secret", test_hash, "1.0", "config 1;data 4;links a"};
  return options;
}

/// A worker of three, whose coordinator listens at this port; 0: any.
inline LaunchSpec test_launch(std::uint32_t rank, std::uint16_t port) {
  return {.rank = rank, .world_size = 3, .master_address = "127.0.0.1", .master_port = port};
}

}  // namespace hopyard
