// Memory that is pinned once: how much of it there is when the system refuses, and its parts.
#include "cuda/pinned_slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/rng.h"
#include "cuda/memory_limit.h"
#include "fakes/drawn_runs.h"
#include "fakes/fake_cuda.h"
#include "fakes/temporary_folder.h"

namespace hopyard {
namespace {

using fakes::FakeCuda;

constexpr Bytes kPage = 4 * KiB;

Pinning pinning_by(FakeCuda& card, Bytes most = 1 * GiB) {
  return {[&card, most](void* data, Bytes bytes) { return bytes <= most && card.pin(data, bytes); },
          [&card](void* data) { card.unpin(data); }};
}

TEST(PinnedSlabTest, IsOfExactlyItsSizeAndUnpinnedWithIt) {
  FakeCuda card({});
  {
    const auto slab = PinnedSlab::make(3 * MiB + kPage, pinning_by(card), std::nullopt);
    ASSERT_NE(slab, nullptr);
    EXPECT_EQ(slab->bytes(), 3 * MiB + kPage);
    EXPECT_FALSE(card.all_given_back());
    std::byte* const all = slab->map(3 * MiB + kPage);
    ASSERT_NE(all, nullptr);
    std::memset(all, 1, 3 * MiB + kPage);
    EXPECT_EQ(slab->map(kPage), nullptr);
    slab->unmap(all, 3 * MiB + kPage);
  }
  EXPECT_TRUE(card.all_given_back());
  EXPECT_EQ(card.misuse(), "");
}

TEST(PinnedSlabTest, IsSmallerWhereTheSystemRefusesAndNoneWhereItRefusesAll) {
  FakeCuda card({});
  EXPECT_EQ(PinnedSlab::make(8 * MiB, pinning_by(card, 3 * MiB), std::nullopt)->bytes(), 2 * MiB);
  EXPECT_EQ(PinnedSlab::make(8 * MiB, pinning_by(card), 4 * MiB)->bytes(), 4 * MiB / 8 * 7);
  EXPECT_EQ(PinnedSlab::make(8 * MiB, pinning_by(card), GiB)->bytes(), 8 * MiB);
  EXPECT_EQ(PinnedSlab::make(8 * MiB, pinning_by(card, MiB - 1), std::nullopt), nullptr);
  FakeCuda refusing({.refuse_pins = true});
  EXPECT_EQ(PinnedSlab::make(8 * MiB, pinning_by(refusing), std::nullopt), nullptr);
}

/// No two parts overlap, none is refused for which there is a place, and all that comes back is one piece again.
TEST(PinnedSlabTest, GivesOutPartsInAnyOrder) {
  constexpr std::size_t kPages = 64;
  FakeCuda card({});
  const std::uint64_t runs = fakes::drawn_runs(300);
  for (std::uint64_t seed = 0; seed < runs; ++seed) {
    const auto slab = PinnedSlab::make(kPages * kPage, pinning_by(card), std::nullopt);
    std::byte* const begin = slab->map(kPages * kPage);
    slab->unmap(begin, kPages * kPage);
    KeyedStream drawn(derive(seed, "pinned slab"));
    std::vector<bool> taken(kPages);
    std::vector<std::pair<std::size_t, std::size_t>> parts;  // first page, pages
    const auto place = [&](std::size_t pages) {
      for (std::size_t at = 0, run = 0; at < kPages; ++at) {
        run = taken[at] ? 0 : run + 1;
        if (run == pages) return true;
      }
      return false;
    };
    for (int step = 0; step < 100; ++step) {
      if (drawn.below(2) == 0) {
        const std::size_t pages = 1 + drawn.below(16);
        std::byte* const part = slab->map(pages * kPage);
        ASSERT_EQ(part != nullptr, place(pages)) << "seed " << seed;
        if (part == nullptr) continue;
        const auto first = static_cast<std::size_t>(part - begin) / kPage;
        for (std::size_t page = first; page < first + pages; ++page) {
          ASSERT_FALSE(taken[page]) << "seed " << seed;
          taken[page] = true;
        }
        parts.emplace_back(first, pages);
      } else if (!parts.empty()) {
        const auto which = parts.begin() + static_cast<std::ptrdiff_t>(drawn.below(parts.size()));
        slab->unmap(begin + which->first * kPage, which->second * kPage);
        std::fill_n(taken.begin() + static_cast<std::ptrdiff_t>(which->first), which->second, false);
        parts.erase(which);
      }
      ASSERT_EQ(slab->free(), static_cast<Bytes>(std::count(taken.begin(), taken.end(), false)) * kPage);
    }
    for (const auto& [first, pages] : parts) slab->unmap(begin + first * kPage, pages * kPage);
    ASSERT_EQ(slab->map(kPages * kPage), begin) << "seed " << seed;
    EXPECT_THROW(slab->unmap(begin, (kPages + 1) * kPage), std::logic_error);
    slab->unmap(begin, kPages * kPage);
    EXPECT_THROW(slab->unmap(begin, kPage), std::logic_error);
  }
}

TEST(MemoryLimitTest, IsTheLeastOfAllGroupsAbove) {
  const fakes::TemporaryFolder folder;
  const auto limit = [&] { return cgroup_memory_limit(folder / "groups", folder / "own"); };
  std::filesystem::create_directories(folder / "groups/a/b");
  EXPECT_EQ(limit(), std::nullopt);
  folder.write("own", "0::/a/b\n");
  folder.write("groups/memory.max", "max\n");
  EXPECT_EQ(limit(), std::nullopt);
  folder.write("groups/a/b/memory.max", "9000\n");
  EXPECT_EQ(limit(), 9000u);
  folder.write("groups/a/memory.max", "8000\n");
  EXPECT_EQ(limit(), 8000u);
  folder.write("groups/memory.max", "7000\n");
  EXPECT_EQ(limit(), 7000u) << "as a container shows it";
}

TEST(MemoryLimitTest, KnowsTheFirstVersion) {
  const fakes::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "groups/memory/a");
  folder.write("own", "7:cpu:/x\n5:hugetlb,memory:/a\n0::/\n");
  folder.write("groups/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(cgroup_memory_limit(folder / "groups", folder / "own"), std::nullopt);
  folder.write("groups/memory/a/memory.limit_in_bytes", "5000\n");
  EXPECT_EQ(cgroup_memory_limit(folder / "groups", folder / "own"), 5000u);
}

TEST(AvailableMemoryTest, IsWhatTheKernelSays) {
  const fakes::TemporaryFolder folder;
  const std::string file = folder / "meminfo";
  std::ofstream(file) << "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:    2048 kB\nBuffers: 7 kB\n";
  EXPECT_EQ(available_memory(file), 2 * MiB);
  std::ofstream(file) << "MemTotal:       24000000 kB\n";
  EXPECT_EQ(available_memory(file), std::nullopt);
  EXPECT_EQ(available_memory(folder / "none"), std::nullopt);
}

}  // namespace
}  // namespace hopyard
