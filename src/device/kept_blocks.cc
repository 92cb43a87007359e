#include "device/kept_blocks.h"

#include <new>

#include "base/huge_pages.h"

namespace hopyard {

std::byte* KeptBlocks::take(Bytes bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.lower_bound(bytes);
  if (found == blocks_.end() || found->first > bytes + bytes / 4) return nullptr;
  const Bytes length = found->first;
  std::byte* const data = found->second.back();
  found->second.pop_back();
  if (found->second.empty()) blocks_.erase(found);
  bytes_ -= length;
  if (length > bytes) unmap_memory(data + bytes, length - bytes);
  return data;
}

void KeptBlocks::keep(std::byte* data, Bytes bytes) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    blocks_[bytes].push_back(data);
    bytes_ += bytes;
  } catch (const std::bad_alloc&) {
    unmap_memory(data, bytes);
  }
}

void KeptBlocks::trim(Bytes most) noexcept {
  const std::lock_guard lock(mutex_);
  while (bytes_ > most) {
    const auto shortest = blocks_.begin();
    if (!shortest->second.empty()) {
      unmap_memory(shortest->second.back(), shortest->first);
      shortest->second.pop_back();
      bytes_ -= shortest->first;
    }
    if (shortest->second.empty()) blocks_.erase(shortest);
  }
}

}  // namespace hopyard
