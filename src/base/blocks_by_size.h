// Blocks of memory that nobody uses, found by their length. Who keeps them says where they came from and go to.
#pragma once

#include <cstddef>
#include <iterator>
#include <map>
#include <optional>

#include "base/bytes.h"

namespace hopyard {

struct MemoryBlock {
  std::byte* data = nullptr;
  Bytes bytes = 0;
  bool operator==(const MemoryBlock&) const = default;
};

/// Not thread-safe. Of blocks of one length the one that came last goes first: it may still be in a cache.
class BlocksBySize {
 public:
  bool empty() const { return blocks_.empty(); }
  /// std::bad_alloc leaves all as it was.
  void put(MemoryBlock block) { blocks_.emplace(block.bytes, block.data); }
  /// The shortest of those that have so many bytes.
  std::optional<MemoryBlock> take(Bytes least, Bytes most) {
    const auto shortest = blocks_.lower_bound(least);
    if (shortest == blocks_.end() || shortest->first > most) return std::nullopt;
    return taken(std::prev(blocks_.upper_bound(shortest->first)));
  }
  /// Requires one.
  MemoryBlock take_shortest() { return taken(blocks_.begin()); }
  MemoryBlock take_longest() { return taken(std::prev(blocks_.end())); }

 private:
  using Blocks = std::multimap<Bytes, std::byte*>;

  MemoryBlock taken(Blocks::iterator block) {
    const MemoryBlock found{block->second, block->first};
    blocks_.erase(block);
    return found;
  }

  Blocks blocks_;
};

}  // namespace hopyard
