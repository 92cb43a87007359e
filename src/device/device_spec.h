// One entry of `resources.devices`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

struct DeviceSpec {
  enum class Type { cpu, emulated, cuda };
  Type type = Type::cpu;
  std::uint32_t count = 1;
  /// emulated: required. cpu: bound on what computing takes beside the state; 0: what the host tier has. cuda: of each
  /// card; 0: what is free there.
  Bytes memory = 0;
  Bytes overhead = 0;            ///< of `memory`, what the device's own libraries and its allocator's pieces take
  double link_bytes_per_s = 0;   ///< each way. emulated: required. cuda: measured when a run starts
  double latency_s = 10e-6;      ///< emulated: of one transfer
  int threads = 1;               ///< compute threads of each device
  std::uint32_t first_card = 0;  ///< cuda: the first of its `count` cards, known when a run starts
  bool operator==(const DeviceSpec&) const = default;
};

/// One of the devices of an entry.
struct DevicePlace {
  const DeviceSpec* spec = nullptr;
  std::uint32_t index = 0;  ///< among all, entry after entry
  std::uint32_t card = 0;   ///< cuda: of this machine
};
/// All of these entries, which must outlive them.
std::vector<DevicePlace> each_device(const std::vector<DeviceSpec>& specs);
std::uint32_t device_count(const std::vector<DeviceSpec>& specs);

/// For what is updated in host memory: each of so many cards has its share of the cores, but for two that drive it (its
/// compute thread, and autograd's). How many does not show in the bits of updates.
inline int host_threads_of_card(int cards) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, (cores - 2 * cards) / cards);
}

}  // namespace hopyard
