#include "device/kept_blocks.h"

#include <new>

#include "base/huge_pages.h"

namespace hopyard {

std::byte* KeptBlocks::take(Bytes bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const auto block = blocks_.take(bytes, bytes + bytes / 4);
  if (!block) return nullptr;
  bytes_ -= block->bytes;
  if (block->bytes > bytes) unmap_memory(block->data + bytes, block->bytes - bytes);
  return block->data;
}

void KeptBlocks::keep(std::byte* data, Bytes bytes) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    blocks_.put({data, bytes});
    bytes_ += bytes;
  } catch (const std::bad_alloc&) {
    unmap_memory(data, bytes);
  }
}

void KeptBlocks::trim(Bytes most) noexcept {
  const std::lock_guard lock(mutex_);
  while (bytes_ > most) {
    const MemoryBlock shortest = blocks_.take_shortest();
    unmap_memory(shortest.data, shortest.bytes);
    bytes_ -= shortest.bytes;
  }
}

}  // namespace hopyard
