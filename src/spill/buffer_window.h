// The memory of one trial: buffers cut from a reservation, kept for reuse when they are given back.
#pragma once

#include <map>

#include "spill/host_tier.h"

namespace hopyard {

/// Buffers that never exceed the reservation together. Fresh memory costs a page fault for each page, so a buffer that
/// was given back waits for the next one of its size; when another size needs the bytes, it is freed. Not thread-safe.
class BufferWindow {
 public:
  explicit BufferWindow(HostReservation window)
      : bytes_(window.bytes()), free_(std::move(window)), available_(bytes_) {}
  Bytes bytes() const { return bytes_; }
  /// What take() can give in sum, in buffers of whatever size.
  Bytes available() const { return available_; }
  /// A buffer of HostBuffer::rounded(bytes). Requires that this is available. Contents undefined.
  HostBuffer take(Bytes bytes);
  void give_back(HostBuffer buffer);
  /// Gives the reservation back. Requires that all buffers are here.
  void close();

 private:
  Bytes bytes_;
  HostReservation free_;
  std::multimap<Bytes, HostBuffer> spare_;  // by size; counted as available
  Bytes available_;
};

}  // namespace hopyard
