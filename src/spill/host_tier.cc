#include "spill/host_tier.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "base/huge_pages.h"
#include "base/log.h"
#include "base/text.h"

namespace hopyard {

HostReservation::HostReservation(HostReservation&& other) noexcept
    : tier_(std::exchange(other.tier_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

HostReservation& HostReservation::operator=(HostReservation&& other) noexcept {
  HostReservation old(std::move(*this));  // gives back now what a mere swap would keep alive in `other`
  tier_ = std::exchange(other.tier_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

HostReservation::~HostReservation() {
  if (tier_ != nullptr) tier_->give_back(bytes_);
}

HostReservation HostReservation::split(Bytes bytes) {
  require(bytes <= bytes_, "cannot split ", bytes, " bytes off a reservation of ", bytes_);
  bytes_ -= bytes;
  return HostReservation(tier_, bytes);
}

void HostReservation::merge(HostReservation&& other) {
  if (other.tier_ == nullptr) return;
  require(tier_ == nullptr || tier_ == other.tier_, "reservations of two host tiers cannot be merged");
  tier_ = std::exchange(other.tier_, nullptr);
  bytes_ += std::exchange(other.bytes_, 0);
}

HostBuffer::HostBuffer(HostReservation reservation, Bytes bytes) : reservation_(std::move(reservation)), size_(bytes) {
  require(reservation_.bytes() == rounded(bytes), "a buffer of ", bytes, " bytes needs a reservation of ",
          rounded(bytes), ", not of ", reservation_.bytes());
  // Not from a heap, which would keep what was freed: the budget counts what the process holds.
  if (bytes > 0) data_ = reservation_.tier_->map(rounded(bytes));
}

HostBuffer::HostBuffer(HostBuffer&& other) noexcept
    : reservation_(std::move(other.reservation_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  reservation_ = std::move(other.reservation_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

HostBuffer::~HostBuffer() { release(); }

Bytes HostBuffer::rounded(Bytes bytes) { return align_up(bytes, kHostGranule); }

HostReservation HostBuffer::release() {
  if (data_ != nullptr) reservation_.tier_->unmap(std::exchange(data_, nullptr), rounded(size_));
  size_ = 0;
  return std::move(reservation_);
}

HostTier::~HostTier() {
  while (!spare_.empty()) unmap_longest_spare();
}

std::optional<HostReservation> HostTier::reserve(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > capacity_ - used_) return std::nullopt;
  used_ += bytes;
  peak_ = std::max(peak_, used_);
  return HostReservation(this, bytes);
}

Bytes HostTier::used() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

Bytes HostTier::peak() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

Bytes HostTier::mapped() const {
  const std::lock_guard lock(mutex_);
  return mapped_;
}

std::byte* HostTier::map(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  if (const auto spare = spare_.take(bytes, bytes)) return spare->data;
  // What buffers hold is reserved, so spare memory is all that can be in the way.
  while (mapped_ + bytes > capacity_) unmap_longest_spare();
  std::byte* const data = map_fresh(bytes);
  mapped_ += bytes;
  return data;
}

std::byte* HostTier::map_fresh(Bytes bytes) {
  if (memory_ != nullptr) {
    if (std::byte* const data = memory_->map(bytes)) return data;
    while (!spare_.empty()) {  // its free pieces may be too small by themselves
      unmap_longest_spare();
      if (std::byte* const data = memory_->map(bytes)) return data;
    }
  }
  std::byte* const data = map_memory(bytes);
  if (memory_ == nullptr) return data;
  from_kernel_.insert(data);
  if (!std::exchange(warned_, true))
    HOPYARD_WARN << "host tier: no free piece of pinned memory has " << text::format_bytes(bytes)
                 << ": ordinary memory stands in for it, beyond host_memory, and copies to and from it are slower";
  return data;
}

void HostTier::unmap_longest_spare() {
  const MemoryBlock spare = spare_.take_longest();
  mapped_ -= spare.bytes;
  if (memory_ == nullptr || from_kernel_.erase(spare.data) > 0)
    unmap_memory(spare.data, spare.bytes);
  else
    memory_->unmap(spare.data, spare.bytes);
}

void HostTier::unmap(std::byte* data, Bytes bytes) {
  const std::lock_guard lock(mutex_);
  spare_.put({data, bytes});
}

void HostTier::give_back(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  used_ -= bytes;
}

}  // namespace hopyard
