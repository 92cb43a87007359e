// One entry of `resources.devices`.
#pragma once

#include <cstdint>
#include <string>

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

}  // namespace hopyard
