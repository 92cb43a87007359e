// The host tier: a ledger of bytes, reservations as move-only tokens, and buffers made from them.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "base/bytes.h"

namespace hopyard {

class HostTier;

/// Buffers take the ledger's bytes in multiples of this: a page, which is what direct I/O and mmap ask for.
constexpr Bytes kHostGranule = 4 * KiB;

/// A right to `bytes` of the host tier; gives them back when it dies. Move-only.
class HostReservation {
 public:
  HostReservation() = default;
  HostReservation(HostReservation&& other) noexcept;
  HostReservation& operator=(HostReservation&& other) noexcept;
  ~HostReservation();
  Bytes bytes() const { return bytes_; }
  /// Splits off a part; Requires bytes <= this->bytes().
  HostReservation split(Bytes bytes);
  /// Takes the other's bytes in. Requires the same tier.
  void merge(HostReservation&& other);

 private:
  friend class HostTier;
  HostReservation(HostTier* tier, Bytes bytes) : tier_(tier), bytes_(bytes) {}
  HostTier* tier_ = nullptr;
  Bytes bytes_ = 0;
};

/// Memory of the host tier, aligned to 4096 bytes (for direct I/O and the copy engines), of exactly the reserved size
/// rounded up to kHostGranule. Not initialised. Move-only.
class HostBuffer {
 public:
  HostBuffer() = default;
  /// Requires reservation.bytes() == rounded(bytes).
  HostBuffer(HostReservation reservation, Bytes bytes);
  HostBuffer(HostBuffer&&) noexcept;
  HostBuffer& operator=(HostBuffer&&) noexcept;
  ~HostBuffer();
  static Bytes rounded(Bytes bytes);  ///< what a buffer of this size takes from the ledger

  explicit operator bool() const { return data_ != nullptr; }
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  Bytes size() const { return size_; }
  std::span<std::byte> span() { return {data_, size_}; }
  std::span<const std::byte> span() const { return {data_, size_}; }
  /// Frees the memory and hands the reservation back to the caller.
  HostReservation release();

 private:
  HostReservation reservation_;
  std::byte* data_ = nullptr;
  Bytes size_ = 0;
};

/// The ledger. Thread-safe. Must outlive its reservations. Used bytes never exceed the capacity: reserve() refuses.
class HostTier {
 public:
  explicit HostTier(Bytes capacity) : capacity_(capacity) {}
  std::optional<HostReservation> reserve(Bytes bytes);
  Bytes capacity() const { return capacity_; }
  Bytes used() const;
  Bytes peak() const;

 private:
  friend class HostReservation;
  void give_back(Bytes bytes);
  const Bytes capacity_;
  mutable std::mutex mutex_;  // guards used_ and peak_
  Bytes used_ = 0, peak_ = 0;
};

}  // namespace hopyard
