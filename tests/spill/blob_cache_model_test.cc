// Thousands of random operations on a BlobCache, beside a plain map of what each blob should hold.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "fakes/memory_disk_tier.h"
#include "spill/blob_cache.h"
#include "spill/blob_cache_fixture.h"
#include "spill/scratch_folder.h"

namespace hopyard {
namespace {

using Blobs = std::vector<std::uint32_t>;

/// One trial's life: tasks, prefetches, commits and crashes, drawn from a seed.
class Model {
 public:
  Model(DiskTier& disk, Bytes unit, std::uint64_t seed) : disk_(disk), random_(seed), host_(1 * GiB), unit_(unit) {
    const std::size_t blobs = 3 + random_.below(12);
    Bytes largest = 0;
    for (std::size_t i = 0; i < blobs; ++i) {
      specs_.push_back({random_.below(8) == 0 ? 0 : 1 + random_.below(4 * unit_), random_.below(4) != 0});
      largest = std::max(largest, HostBuffer::rounded(specs_[i].bytes));
    }
    // From the smallest window in which any two blobs fit to one in which about half of them do.
    window_ = HostBuffer::rounded(2 * largest + random_.below(blobs * unit_));
    open({});
  }

  void run(int operations) {
    for (int i = 0; i < operations; ++i) {
      const auto dice = random_.below(100);
      if (dice < 70)
        run_task();
      else if (dice < 90)
        prefetch();
      else if (dice < 97)
        commit();
      else if (dice < 99)
        crash();
      check_ledgers();
    }
  }

 private:
  void open(const std::vector<BlobVersion>& state) {
    cache_.reset();
    cache_ = std::make_unique<BlobCache>(
        disk_, pool_, *host_.reserve(window_), specs_, [this](std::uint32_t blob) { return next_use_[blob].load(); },
        [this] { bell_.ring(); });
    cache_->restore(state);
  }

  Blobs draw() {
    for (auto& use : next_use_) use = random_.below(10);
    Blobs set;
    Bytes bytes = 0;
    for (const auto blob : permutation(static_cast<std::uint32_t>(specs_.size()), random_.next())) {
      const Bytes size = HostBuffer::rounded(specs_[blob].bytes);
      if (bytes + size > window_ || set.size() >= 1 + random_.below(6)) break;
      bytes += size;
      set.push_back(blob);
    }
    return set;
  }

  void run_task() {
    const Blobs set = draw();
    acquire(*cache_, bell_, set);
    if (random_.below(3) == 0) try_next_task();
    Blobs dirty, clean;
    for (const auto blob : set) {
      const auto bytes = cache_->bytes(blob);
      const auto expected = stamps_.find(blob);
      ASSERT_TRUE(expected == stamps_.end() || holds(bytes, expected->second)) << "blob " << blob;
      (random_.below(2) == 0 ? dirty : clean).push_back(blob);
    }
    for (const auto blob : dirty) fill(cache_->bytes(blob), stamps_[blob] = ++stamp_);
    cache_->release(clean, false);
    cache_->release(dirty, true);
    cache_->release(std::exchange(next_, {}), false);
  }

  // As the next task does while the present one is pinned. It may fail, and then it is given up.
  void try_next_task() {
    next_ = draw();
    if (!cache_->acquire(next_)) next_.clear();
  }

  void prefetch() { cache_->prefetch(draw()); }

  void commit() {
    const auto state = cache_->commit(1 + random_.below(6 * unit_));
    std::map<std::uint32_t, Version> named;
    for (const auto& [blob, version] : state) named[blob] = version;
    for (std::uint32_t blob = 0; blob < specs_.size(); ++blob) {
      if (!specs_[blob].persistent || specs_[blob].bytes == 0 || !stamps_.contains(blob)) continue;
      ASSERT_TRUE(named.contains(blob));
      std::vector<std::byte> out(specs_[blob].bytes);
      disk_.read(named[blob], blob, 0, out);
      ASSERT_TRUE(holds(out, stamps_[blob])) << "committed blob " << blob;
    }
    committed_ = state;
    committed_stamps_ = stamps_;
    if (random_.below(4) != 0) cache_->drop_superseded();
  }

  // The trial goes back to its last commit; what is not persistent is nowhere then.
  void crash() {
    cache_.reset();
    std::set<Version> named;
    for (const auto& [blob, version] : committed_) named.insert(version);
    disk_.keep_only(named);
    open(committed_);
    stamps_ = committed_stamps_;
    std::erase_if(stamps_, [this](const auto& entry) { return !specs_[entry.first].persistent; });
  }

  void check_ledgers() {
    ASSERT_LE(cache_->used(), window_);
    ASSERT_EQ(host_.used(), window_);
    ASSERT_EQ(host_.peak(), window_);
    ASSERT_LE(disk_.peak(), disk_.capacity());
  }

  DiskTier& disk_;
  KeyedStream random_;
  HostTier host_;
  const Bytes unit_;
  std::vector<BlobSpec> specs_;
  Bytes window_ = 0;
  std::array<std::atomic<std::uint64_t>, 16> next_use_{};
  Bell bell_;
  IoPool pool_{3};
  std::unique_ptr<BlobCache> cache_;
  Blobs next_;
  std::uint64_t stamp_ = 0;
  std::map<std::uint32_t, std::uint64_t> stamps_, committed_stamps_;
  std::vector<BlobVersion> committed_;
};

TEST(BlobCacheModel, MatchesAMapOverTheMemoryTier) {
  for (std::uint64_t seed = 0; seed < 40 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    MemoryDiskTier disk;
    if (seed % 4 == 3) disk.faults.delay_s = 20e-6;
    Model(disk, 4 * KiB, seed).run(400);
  }
}

TEST(BlobCacheModel, MatchesAMapOverRocksDb) {
  for (std::uint64_t seed = 100; seed < 103 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const ScratchFolder folder;
    const auto disk = open_rocks_disk_tier({folder.path(), 256 * MiB});
    Model(*disk, 512 * KiB, seed).run(120);
  }
}

/// Two that acquire, of whom each may name the whole window, and a third that prefetches: everybody gets on.
void race(DiskTier& disk, int rounds, bool blocking) {
  constexpr std::uint32_t kBlobs = 12;
  constexpr Bytes kUnit = 4 * KiB, kWindow = 6 * kUnit;
  HostTier host(kWindow);
  Bell bell;
  IoPool pool(2);
  BlobCache cache(
      disk, pool, *host.reserve(kWindow), std::vector<BlobSpec>(kBlobs, BlobSpec{kUnit}),
      [](std::uint32_t blob) { return blob % 5; }, [&] { bell.ring(); });
  std::atomic<bool> stop = false;
  const auto trainer = [&](std::uint32_t which) {
    std::map<std::uint32_t, std::uint64_t> stamps;
    KeyedStream random(which);
    for (int round = 0; round < rounds; ++round) {
      Blobs set;  // its own half of the blobs, up to all of them: the whole window
      for (std::uint32_t blob = which; blob < kBlobs; blob += 2)
        if (random.below(3) != 0) set.push_back(blob);
      if (blocking)
        cache.acquire_blocking(set);
      else
        acquire(cache, bell, set);
      for (const auto blob : set) {
        EXPECT_TRUE(!stamps.contains(blob) || holds(cache.bytes(blob), stamps[blob]));
        fill(cache.bytes(blob), stamps[blob] = random.next());
      }
      cache.release(set, true);
    }
  };
  std::jthread prefetcher([&] {
    KeyedStream random(9);
    while (!stop) {
      cache.prefetch(
          Blobs{static_cast<std::uint32_t>(random.below(kBlobs)), static_cast<std::uint32_t>(random.below(kBlobs))});
      sleep_seconds(50e-6);
    }
  });
  { std::jthread even(trainer, 0), odd(trainer, 1); }
  stop = true;
  prefetcher.join();
  EXPECT_LE(cache.used(), kWindow);
  EXPECT_LE(host.peak(), kWindow);
}

TEST(BlobCacheThreads, BothGetOnWhenWoken) {
  MemoryDiskTier disk;
  race(disk, 1500, false);
}

TEST(BlobCacheThreads, BothGetOnWhenBlocking) {
  MemoryDiskTier disk;
  race(disk, 1500, true);
}

TEST(BlobCacheThreads, BothGetOnOverRocksDb) {
  const ScratchFolder folder;
  const auto disk = open_rocks_disk_tier({folder.path(), 64 * MiB});
  race(*disk, 60, false);
}

TEST(BlobCacheThreads, SeveralCachesShareAPoolAndADisk) {
  MemoryDiskTier disk;
  IoPool pool(2);
  HostTier host(16 * KiB);
  std::vector<std::jthread> trials;
  for (std::uint64_t trial = 0; trial < 3; ++trial) {
    trials.emplace_back([&, trial] {
      BlobCache cache(disk, pool, *host.reserve(4 * KiB), std::vector<BlobSpec>(3, BlobSpec{4000}), nullptr, nullptr);
      std::map<std::uint32_t, std::uint64_t> stamps;
      KeyedStream random(trial);
      for (int round = 0; round < 300; ++round) {
        const Blobs set{static_cast<std::uint32_t>(random.below(3))};
        cache.acquire_blocking(set);
        EXPECT_TRUE(!stamps.contains(set[0]) || holds(cache.bytes(set[0]), stamps[set[0]]));
        fill(cache.bytes(set[0]), stamps[set[0]] = random.next());
        cache.release(set, true);
        if (round % 50 == 49) {
          cache.commit();
          cache.drop_superseded();
        }
      }
    });
  }
  trials.clear();
  pool.drain();
  EXPECT_EQ(host.used(), 0u);
  EXPECT_EQ(host.peak(), 12 * KiB);
}

}  // namespace
}  // namespace hopyard
