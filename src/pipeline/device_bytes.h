// Bytes in a device's own memory, and their place in what is promised of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <memory>

#include "base/bytes.h"

namespace hopyard {

/// Bytes in a device's own memory with their place in its ledger; both go back when the last holder lets go.
class DeviceBytes {
 public:
  DeviceBytes(std::shared_ptr<std::atomic<Bytes>> ledger, Bytes bytes) : ledger_(std::move(ledger)), bytes_(bytes) {
    *ledger_ += bytes_;
  }
  ~DeviceBytes() {
    tensor = at::Tensor();
    *ledger_ -= bytes_;
  }
  DeviceBytes(const DeviceBytes&) = delete;
  Bytes bytes() const { return bytes_; }
  at::Tensor tensor;                 ///< defined once it is allocated
  at::ScalarType type = at::kFloat;  ///< of state, what it is allocated as
  /// Of frozen bytes, which the first task that gets to it loads for all that hold them.
  bool requested = false, there = false;

 private:
  std::shared_ptr<std::atomic<Bytes>> ledger_;
  Bytes bytes_;
};
using DeviceHold = std::shared_ptr<DeviceBytes>;

}  // namespace hopyard
