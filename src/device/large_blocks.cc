#include "device/large_blocks.h"

#include <algorithm>

#include "device/huge_pages.h"

namespace hopyard {

LargeBlocks::~LargeBlocks() {
  while (!kept_blocks_.empty()) unmap_kept(kept_blocks_.begin());
}

LargeBlock LargeBlocks::take(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  LargeBlock block{nullptr, bytes};
  if (const auto found = kept_blocks_.lower_bound(bytes);
      found != kept_blocks_.end() && found->first <= bytes + bytes / 4) {
    block = {found->second.back(), found->first};
    found->second.pop_back();
    if (found->second.empty()) kept_blocks_.erase(found);
    kept_ -= block.bytes;
  } else {
    const Bytes most = std::max(most_used_, used_ + bytes);
    while (used_ + bytes + kept_ > most) unmap_kept(kept_blocks_.begin());
    block.data = map_memory(bytes);
  }
  used_ += block.bytes;
  most_used_ = std::max(most_used_, used_);
  return block;
}

void LargeBlocks::give_back(const LargeBlock& block) {
  const std::lock_guard lock(mutex_);
  used_ -= block.bytes;
  kept_ += block.bytes;
  kept_blocks_[block.bytes].push_back(block.data);
}

Bytes LargeBlocks::kept() const {
  const std::lock_guard lock(mutex_);
  return kept_;
}

void LargeBlocks::unmap_kept(std::map<Bytes, std::vector<std::byte*>>::iterator kept) {
  const Bytes bytes = kept->first;
  std::byte* const data = kept->second.back();
  kept->second.pop_back();
  if (kept->second.empty()) kept_blocks_.erase(kept);
  kept_ -= bytes;
  unmap_memory(data, bytes);
}

}  // namespace hopyard
