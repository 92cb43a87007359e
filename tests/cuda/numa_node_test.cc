// Where host memory for a card is to lie, and that a kernel that does not let us choose stands in nobody's way.
#include "cuda/numa_node.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "cuda/pinned_slab.h"
#include "fakes/temporary_folder.h"

namespace hopyard {
namespace {

constexpr std::uint32_t kNoSuchNode = 900;

class NumaNodeTest : public ::testing::Test {
 protected:
  NumaNodeTest() {
    std::filesystem::create_directories(folder_ / "bus/pci/devices/0000:3b:00.0");
    std::filesystem::create_directories(folder_ / "devices/system/node");
  }
  std::optional<std::uint32_t> node(const std::string& of_card, const std::string& with_memory) const {
    folder_.write("bus/pci/devices/0000:3b:00.0/numa_node", of_card);
    folder_.write("devices/system/node/has_memory", with_memory);
    return numa_node_of_card("0000:3B:00.0", folder_.path());
  }
  const fakes::TemporaryFolder folder_;
};

TEST_F(NumaNodeTest, IsTheOneThatTheCardHangsOn) {
  EXPECT_EQ(node("1\n", "0-1\n"), 1u);
  EXPECT_EQ(node("0\n", "0-1\n"), 0u);
  EXPECT_EQ(node("8\n", "0,8,252-255\n"), 8u);
  EXPECT_EQ(node("253\n", "0,8,252-255\n"), 253u);
}

TEST_F(NumaNodeTest, IsNoneWhereThereIsNothingToChoose) {
  EXPECT_EQ(node("0\n", "0\n"), std::nullopt) << "one node";
  EXPECT_EQ(node("-1\n", "0-1\n"), std::nullopt) << "the kernel does not know it";
  EXPECT_EQ(node("2\n", "0-1\n"), std::nullopt) << "a node without memory";
  EXPECT_EQ(node("", "0-1\n"), std::nullopt);
  EXPECT_EQ(node("1x\n", "0-1\n"), std::nullopt);
  for (const char* list : {"", "1-0", "0-", "-1", "0,,1", "all"}) EXPECT_EQ(node("1\n", list), std::nullopt) << list;
}

TEST_F(NumaNodeTest, IsNoneOfACardThatNobodyNames) {
  ASSERT_EQ(node("1\n", "0-1\n"), 1u);
  EXPECT_EQ(numa_node_of_card("", folder_.path()), std::nullopt);
  EXPECT_EQ(numa_node_of_card("0000:3c:00.0", folder_.path()), std::nullopt);
  EXPECT_EQ(numa_node_of_card("0000:3b:00.0", folder_ / "none"), std::nullopt);
}

/// By the kernel's word; nothing when it does not say.
std::optional<std::uint32_t> preferred_node(void* data) {
  int mode = 0;
  std::array<unsigned long, 16> nodes{};
  const unsigned long counted = nodes.size() * 64 + 1, flags = MPOL_F_ADDR;
  if (::syscall(SYS_get_mempolicy, &mode, nodes.data(), counted, data, flags) != 0 || mode != MPOL_PREFERRED)
    return std::nullopt;
  for (std::uint32_t node = 0; node < nodes.size() * 64; ++node)
    if (nodes[node / 64] >> node % 64 & 1) return node;
  return std::nullopt;
}

Pinning pinning_that_sees(std::optional<std::uint32_t>& node) {
  return {[&node](void* data, Bytes) {
            node = preferred_node(data);
            return true;
          },
          [](void*) {}};
}

TEST(NumaPlacementTest, ASlabIsAskedForThere) {
  void* const page = ::mmap(nullptr, 4 * KiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool lets = prefer_numa_node(page, 4 * KiB, 0);
  EXPECT_EQ(preferred_node(page).has_value(), lets);
  ::munmap(page, 4 * KiB);
  if (!lets) GTEST_SKIP() << "the kernel does not let this process choose its nodes";
  std::optional<std::uint32_t> seen;
  PinnedSlab::make(4 * MiB, pinning_that_sees(seen), std::nullopt, 0);
  EXPECT_EQ(seen, 0u);
  PinnedSlab::make(4 * MiB, pinning_that_sees(seen), std::nullopt);
  EXPECT_EQ(seen, std::nullopt);
}

TEST(NumaPlacementTest, ARefusalIsNoError) {
  std::optional<std::uint32_t> seen = 0;
  const auto slab = PinnedSlab::make(4 * MiB, pinning_that_sees(seen), std::nullopt, kNoSuchNode);
  ASSERT_NE(slab, nullptr);
  EXPECT_EQ(slab->bytes(), 4 * MiB);
  EXPECT_EQ(seen, std::nullopt);
  EXPECT_FALSE(prefer_numa_node(slab->map(4 * KiB), 4 * KiB, 1024)) << "more than Linux knows";
  EXPECT_FALSE(prefer_numa_node(nullptr, 4 * KiB, 0));
}

}  // namespace
}  // namespace hopyard
