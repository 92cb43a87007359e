// The host tier: a ledger of bytes, reservations as move-only tokens, and buffers made from them.
#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <set>
#include <span>

#include "base/blocks_by_size.h"
#include "base/bytes.h"
#include "device/host_memory.h"

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
  friend class HostBuffer;
  HostReservation(HostTier* tier, Bytes bytes) : tier_(tier), bytes_(bytes) {}
  HostTier* tier_ = nullptr;
  Bytes bytes_ = 0;
};

/// Memory of the host tier, aligned to 4096 bytes (for direct I/O and the copy engines), of exactly the reserved size
/// rounded up to kHostGranule. Contents undefined. Move-only.
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
  /// Gives the memory back to the tier and hands the reservation to the caller.
  HostReservation release();

 private:
  HostReservation reservation_;
  std::byte* data_ = nullptr;
  Bytes size_ = 0;
};

/// The ledger. Thread-safe. Must outlive its reservations. Used bytes never exceed the capacity: reserve() refuses.
///
/// Memory that buffers gave back stays mapped for others of their size: the kernel zeroes what it maps, which is a
/// tenth of what a state costs on its way from worker to worker. Nor do mapped bytes ever exceed the capacity.
class HostTier {
 public:
  /// `memory`: where bytes come from as long as it has any; null: straight from the kernel. Must outlive the tier.
  explicit HostTier(Bytes capacity, HostMemory* memory = nullptr) : capacity_(capacity), memory_(memory) {}
  ~HostTier();
  std::optional<HostReservation> reserve(Bytes bytes);
  Bytes capacity() const { return capacity_; }
  Bytes used() const;
  Bytes peak() const;
  Bytes mapped() const;  ///< by buffers, and spare

 private:
  friend class HostReservation;
  friend class HostBuffer;
  void give_back(Bytes bytes);
  std::byte* map(Bytes bytes);
  void unmap(std::byte* data, Bytes bytes);

  std::byte* map_fresh(Bytes bytes);
  void unmap_longest_spare();

  const Bytes capacity_;
  HostMemory* const memory_;
  mutable std::mutex mutex_;  // guards all below
  Bytes used_ = 0, peak_ = 0, mapped_ = 0;
  BlocksBySize spare_;
  std::set<std::byte*> from_kernel_;  // beside memory_
  bool warned_ = false;               ///< of the first of them
};

}  // namespace hopyard
