// Which trials' states a worker holds in its disk tier. The SQLite form is in runtime; tests use one in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// One blob of a state: how many bytes it has, and the version in this worker's disk tier that has them.
struct HeldBlob {
  std::uint32_t blob = 0;
  Bytes bytes = 0;
  std::uint64_t version = 0;
  bool operator==(const HeldBlob&) const = default;
};

inline Bytes total_bytes(const std::vector<HeldBlob>& blobs) {
  Bytes sum = 0;
  for (const auto& blob : blobs) sum += blob.bytes;
  return sum;
}

/// A trial's state after so many visits, durable.
struct HeldState {
  std::string trial;
  std::uint32_t visits = 0;     ///< of all epochs, that are behind it
  std::string digest;           ///< of the trial's parameters
  std::vector<HeldBlob> blobs;  ///< every trainable one, ascending
  bool operator==(const HeldState&) const = default;
};

/// One writer; any thread, calls serialised by the implementation. What a call has put or removed is durable when it
/// returns. Errors throw Failure.
class StateBook {
 public:
  virtual ~StateBook() = default;
  virtual std::vector<HeldState> all() const = 0;  ///< by trial, then visits
  /// In place of what it had of this trial after so many visits.
  virtual void put(const HeldState& state) = 0;
  /// Not to be there is no fault.
  virtual void remove(const std::string& trial, std::uint32_t visits) = 0;
};

}  // namespace hopyard
