#include "base/blocks_by_size.h"

#include <gtest/gtest.h>

namespace hopyard {
namespace {

TEST(BlocksBySize, GivesTheShortestThatDoes) {
  std::byte memory[4];
  BlocksBySize blocks;
  blocks.put({memory, 16});
  blocks.put({memory + 1, 8});
  blocks.put({memory + 2, 8});
  blocks.put({memory + 3, 12});
  EXPECT_EQ(blocks.take(9, 11), std::nullopt);
  EXPECT_EQ(blocks.take(17, 100), std::nullopt);
  EXPECT_EQ(blocks.take(9, 16), (MemoryBlock{memory + 3, 12}));
  EXPECT_EQ(blocks.take(8, 8), (MemoryBlock{memory + 2, 8})) << "the one that came last";
  EXPECT_EQ(blocks.take_longest(), (MemoryBlock{memory, 16}));
  EXPECT_EQ(blocks.take_shortest(), (MemoryBlock{memory + 1, 8}));
  EXPECT_TRUE(blocks.empty());
}

}  // namespace
}  // namespace hopyard
