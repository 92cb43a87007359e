#include "spill/blob_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "fakes/memory_disk_tier.h"
#include "spill/blob_cache_fixture.h"

namespace hopyard {
namespace {

using Blobs = std::vector<std::uint32_t>;

constexpr Bytes kUnit = 4 * KiB;

class BlobCacheTest : public testing::Test {
 protected:
  /// `units`: the size of each blob in units; the window in units.
  void make(const std::vector<int>& units, int window, std::vector<bool> persistent = {}) {
    std::vector<BlobSpec> specs;
    for (std::size_t i = 0; i < units.size(); ++i)
      specs.push_back({static_cast<Bytes>(units[i]) * kUnit, persistent.empty() || persistent[i]});
    blobs = static_cast<std::uint32_t>(units.size());
    set_next_use({});
    cache.reset();
    cache = std::make_unique<BlobCache>(
        disk, pool, *host.reserve(static_cast<Bytes>(window) * kUnit), specs,
        [this](std::uint32_t blob) { return next_use[blob].load(); }, [this] { bell.ring(); });
  }
  void set_next_use(const std::vector<std::uint64_t>& uses) {
    for (std::size_t i = 0; i < next_use.size(); ++i) next_use[i] = i < uses.size() ? uses[i] : 0;
  }
  void get(const Blobs& set) { acquire(*cache, bell, set); }
  void put(const Blobs& set, bool dirty) { cache->release(set, dirty); }
  void write(std::uint32_t blob, std::uint64_t stamp) {
    get({blob});
    fill(cache->bytes(blob), stamp);
    put({blob}, true);
  }
  bool reads(std::uint32_t blob, std::uint64_t stamp) {
    get({blob});
    const bool right = holds(cache->bytes(blob), stamp);
    put({blob}, false);
    return right;
  }
  /// Waits until no blob moves.
  void settle() {
    pool.drain();
    for (std::uint32_t blob = 0; blob < blobs; ++blob) ASSERT_NE(cache->place(blob), BlobPlace::moving);
  }

  MemoryDiskTier disk{GiB};
  HostTier host{64 * MiB};
  Bell bell;
  std::uint32_t blobs = 0;
  std::array<std::atomic<std::uint64_t>, 8> next_use{};
  IoPool pool{2};
  std::unique_ptr<BlobCache> cache;
};

TEST_F(BlobCacheTest, ABlobGoesFromNowhereToHostToDiskAndBack) {
  make({1, 1}, 1);
  EXPECT_EQ(cache->place(0), BlobPlace::nowhere);
  EXPECT_EQ(cache->used(), 0u);
  write(0, 7);
  EXPECT_EQ(cache->place(0), BlobPlace::host);
  EXPECT_EQ(cache->used(), kUnit);
  write(1, 8);
  EXPECT_EQ(cache->place(0), BlobPlace::disk);
  EXPECT_TRUE(reads(0, 7));
  EXPECT_EQ(cache->place(0), BlobPlace::host_and_disk);
  EXPECT_EQ(cache->place(1), BlobPlace::disk);
  EXPECT_TRUE(reads(1, 8));
}

TEST_F(BlobCacheTest, EmptyBlobsAreAlwaysThere) {
  make({0, 1}, 1);
  EXPECT_EQ(cache->place(0), BlobPlace::host);
  ASSERT_TRUE(cache->acquire(Blobs{0}));
  EXPECT_TRUE(cache->bytes(0).empty());
  put({0}, true);
  EXPECT_TRUE(cache->commit().empty());
}

TEST_F(BlobCacheTest, AcquireIsAllOrNothing) {
  make({1, 1, 1}, 2);
  get({0, 1});
  EXPECT_FALSE(cache->acquire(Blobs{1, 2}));
  put({1}, false);
  EXPECT_THROW(put({1}, false), std::logic_error) << "the failed acquire has pinned blob 1";
  EXPECT_THROW(cache->bytes(2), std::logic_error);
}

TEST_F(BlobCacheTest, RefusesWhatNeverFits) {
  make({2, 2}, 3);
  EXPECT_THROW(cache->acquire(Blobs{0, 1}), std::logic_error);
  EXPECT_THROW(cache->acquire(Blobs{2}), std::logic_error);
  get({0, 0});  // twice the same is one place, but two pins
  put({0}, false);
  put({0}, false);
  EXPECT_THROW(put({0}, false), std::logic_error);
}

TEST_F(BlobCacheTest, EvictsFarthestNextUseFirst) {
  make({1, 1, 1, 1}, 3);
  for (const std::uint32_t blob : {0, 1, 2}) write(blob, blob);
  set_next_use({5, 9, 2, 1});
  write(3, 3);
  EXPECT_EQ(cache->place(1), BlobPlace::disk);
  EXPECT_EQ(cache->place(0), BlobPlace::host);
  EXPECT_EQ(cache->place(2), BlobPlace::host);
  set_next_use({4, 0, 6, 5});
  EXPECT_TRUE(reads(1, 1));
  EXPECT_EQ(cache->place(2), BlobPlace::disk);
}

TEST_F(BlobCacheTest, EvictsLeastRecentlyUsedAmongEquals) {
  make({1, 1, 1, 1}, 3);
  for (const std::uint32_t blob : {0, 1, 2}) write(blob, blob);
  EXPECT_TRUE(reads(0, 0));
  write(3, 3);
  EXPECT_EQ(cache->place(1), BlobPlace::disk);
}

TEST_F(BlobCacheTest, BeladyMissesNoMoreThanTheOptimum) {
  // Longest forward distance is optimal for blobs of one size: count the reads of a cyclic sweep, as a cut model makes
  // it.
  constexpr int kBlobs = 6, kWindow = 4, kSweeps = 10;
  make(std::vector<int>(kBlobs, 1), kWindow);
  Blobs order;  // forward and back again
  for (int sweep = 0; sweep < kSweeps; ++sweep)
    for (int i = 0; i < 2 * kBlobs; ++i)
      order.push_back(static_cast<std::uint32_t>(i < kBlobs ? i : 2 * kBlobs - 1 - i));
  const auto distance = [&](std::uint32_t blob, std::size_t now) {
    const auto found = std::find(order.begin() + static_cast<std::ptrdiff_t>(now), order.end(), blob);
    return static_cast<std::uint64_t>(found - order.begin()) - now;
  };
  std::set<std::uint32_t> model;
  Bytes misses = 0;
  for (std::size_t now = 0; now < order.size(); ++now) {
    for (std::uint32_t blob = 0; blob < kBlobs; ++blob) next_use[blob] = distance(blob, now);
    if (!model.contains(order[now])) {
      misses += now >= kBlobs;  // the first sweep starts from nowhere
      if (model.size() == kWindow)
        model.erase(*std::max_element(model.begin(), model.end(),
                                      [&](auto a, auto b) { return distance(a, now) < distance(b, now); }));
      model.insert(order[now]);
    }
    get({order[now]});
    EXPECT_TRUE(now < kBlobs || holds(cache->bytes(order[now]), order[now]));
    fill(cache->bytes(order[now]), order[now]);
    put({order[now]}, true);
    settle();
  }
  EXPECT_EQ(disk.counters().read, misses * kUnit);
}

TEST_F(BlobCacheTest, CleanBlobsAreDroppedWithoutBeingWritten) {
  make({1, 1}, 1);
  write(0, 1);
  write(1, 2);
  const Bytes written = disk.counters().written;
  EXPECT_TRUE(reads(0, 1));
  EXPECT_EQ(disk.counters().written, written + kUnit);  // blob 1 was dirty
  EXPECT_TRUE(reads(1, 2));
  EXPECT_TRUE(reads(0, 1));
  EXPECT_EQ(disk.counters().written, written + kUnit);
}

TEST_F(BlobCacheTest, SupersededSpillsLeaveTheDisk) {
  make({1, 1}, 1);
  for (std::uint64_t i = 0; i < 20; ++i) write(i % 2, i);
  settle();
  EXPECT_EQ(disk.versions().size(), 1u);
  EXPECT_LE(disk.peak(), 3 * kUnit);
}

TEST_F(BlobCacheTest, PrefetchReadsAheadButEvictsOnlyWhatIsNeededLater) {
  make({1, 1, 1, 1}, 3);
  for (const std::uint32_t blob : {0, 1, 2, 3}) write(blob, blob);  // 0 is on disk now
  settle();
  ASSERT_EQ(cache->place(0), BlobPlace::disk);
  set_next_use({5, 1, 2, 3});
  cache->prefetch(Blobs{0});
  settle();
  EXPECT_EQ(cache->place(0), BlobPlace::disk) << "everything in memory is needed earlier";
  set_next_use({5, 1, 9, 3});
  cache->prefetch(Blobs{0});
  settle();
  EXPECT_EQ(cache->place(0), BlobPlace::disk) << "2 would be back almost as soon as 0";
  set_next_use({5, 1, 10, 3});
  cache->prefetch(Blobs{0});
  settle();
  EXPECT_EQ(cache->place(0), BlobPlace::host_and_disk);
  EXPECT_EQ(cache->place(2), BlobPlace::disk);
  EXPECT_TRUE(cache->acquire(Blobs{0}));
  put({0}, false);
}

TEST_F(BlobCacheTest, PrefetchLeavesAloneWhatAnAcquireWaitsFor) {
  make({2, 1, 1}, 3);
  write(0, 0);
  write(1, 1);
  write(2, 2);  // evicts 0
  set_next_use({90, 5, 1});
  get({2});
  put({2}, false);
  get({1});
  EXPECT_FALSE(cache->acquire(Blobs{0, 2}));  // has to wait for 1 unit: 1 is pinned, 2 is wanted
  settle();
  cache->prefetch(Blobs{1});
  settle();
  EXPECT_NE(cache->place(2), BlobPlace::disk);
  put({1}, true);
  get({0, 2});
  EXPECT_TRUE(holds(cache->bytes(0), 0));
}

TEST_F(BlobCacheTest, CommitWritesDurablyInGroups) {
  make({1, 1, 1, 0, 2}, 8, {true, true, false, true, true});
  for (const std::uint32_t blob : {0, 1, 2, 4}) write(blob, blob + 40);
  const auto state = cache->commit(2 * kUnit);
  ASSERT_EQ(state.size(), 3u);  // neither the gradient nor the empty one
  EXPECT_EQ(state[0].version, state[1].version);
  EXPECT_NE(state[1].version, state[2].version);
  EXPECT_EQ(state[2].blob, 4u);
  EXPECT_EQ(cache->place(0), BlobPlace::host_and_disk);
  EXPECT_EQ(cache->place(2), BlobPlace::host);
  EXPECT_EQ(cache->commit(2 * kUnit), state) << "nothing has changed";
}

TEST_F(BlobCacheTest, CommitMakesSpilledVersionsDurable) {
  const auto medium = std::make_shared<MemoryDisk>();
  std::vector<BlobVersion> state;
  {
    MemoryDiskTier tier(GiB, medium);
    IoPool io(1);
    BlobCache small(tier, io, *host.reserve(kUnit), {{kUnit}, {kUnit}, {kUnit}}, nullptr, nullptr);
    for (std::uint32_t blob = 0; blob < 3; ++blob) {
      small.acquire_blocking(Blobs{blob});
      fill(small.bytes(blob), blob + 7);
      small.release(Blobs{blob}, true);
    }
    const Bytes written = tier.counters().written;
    state = small.commit();
    EXPECT_EQ(tier.counters().written, written + kUnit) << "spilled bytes need not be written again";
  }
  MemoryDiskTier after_crash(GiB, medium);
  ASSERT_EQ(state.size(), 3u);
  for (const auto& [blob, version] : state) {
    std::vector<std::byte> out(kUnit);
    after_crash.read(version, blob, 0, out);
    EXPECT_TRUE(holds(out, blob + 7));
  }
}

TEST_F(BlobCacheTest, CommittedVersionsStayUntilTheyAreSuperseded) {
  make({1, 1}, 2);
  write(0, 1);
  write(1, 2);
  const auto first = cache->commit();
  write(0, 3);
  const auto second = cache->commit();
  EXPECT_EQ(second[1], first[1]);
  EXPECT_NE(second[0], first[0]);
  settle();
  EXPECT_EQ(disk.versions().size(), 2u);
  cache->drop_superseded();
  write(1, 4);
  cache->commit();
  cache->drop_superseded();
  settle();
  const auto left = disk.versions();
  EXPECT_EQ(std::count(left.begin(), left.end(), first[0].version), 0);
  EXPECT_EQ(left.size(), 2u);
}

TEST_F(BlobCacheTest, TheDestructorLeavesCommittedVersionsAlone) {
  make({1, 1}, 1);
  write(0, 1);
  write(1, 2);
  const auto state = cache->commit();
  write(0, 3);
  write(1, 4);
  cache.reset();
  EXPECT_EQ(host.used(), 0u);
  std::set<Version> named;
  for (const auto& [blob, version] : state) named.insert(version);
  const auto left = disk.versions();
  EXPECT_EQ(std::set<Version>(left.begin(), left.end()), named);
  make({1, 1}, 1);
  cache->restore(state);
  EXPECT_EQ(cache->place(0), BlobPlace::disk);
  EXPECT_TRUE(reads(0, 1));
  EXPECT_TRUE(reads(1, 2));
}

TEST_F(BlobCacheTest, AFailedWriteIsRethrownOnceAndNothingIsLost) {
  make({1, 1}, 1);
  write(0, 5);
  disk.faults.writes_until_failure = 0;
  EXPECT_FALSE(cache->acquire(Blobs{1}));
  pool.drain();
  EXPECT_THROW(cache->acquire(Blobs{1}), Failure);
  EXPECT_EQ(cache->place(0), BlobPlace::host);
  write(1, 6);
  EXPECT_TRUE(reads(0, 5));
}

TEST_F(BlobCacheTest, AFailedReadIsRethrownOnceAndNothingIsLost) {
  make({1, 1}, 1);
  write(0, 5);
  write(1, 6);
  disk.faults.reads_until_failure = 0;
  EXPECT_THROW(cache->acquire_blocking(Blobs{0}), Failure);
  EXPECT_EQ(cache->place(0), BlobPlace::disk);
  EXPECT_TRUE(reads(0, 5));
  EXPECT_TRUE(reads(1, 6));
}

TEST_F(BlobCacheTest, AFailedReadHoldsNobodyElseUp) {
  make({1, 1, 1}, 1);
  for (const std::uint32_t blob : {0, 1, 2}) write(blob, blob);
  for (int round = 0; round < 100; ++round) {
    disk.faults.reads_until_failure = round % 2;  // the first or the second
    std::atomic<int> failures = 0;
    std::jthread other([&] {
      try {
        cache->acquire_blocking(Blobs{0});
        put({0}, false);
      } catch (const Failure&) {
        ++failures;
      }
    });
    try {
      EXPECT_TRUE(reads(1, 1));
    } catch (const Failure&) {
      ++failures;
    }
    other.join();
    disk.faults.reads_until_failure = -1;
    EXPECT_LE(failures, 1);
    EXPECT_TRUE(reads(2, 2));
  }
}

TEST_F(BlobCacheTest, AFullDiskIsACapacityFailure) {
  make({1, 1, 1}, 1);
  MemoryDiskTier small(kUnit);
  BlobCache tight(small, pool, *host.reserve(kUnit), {{kUnit}, {kUnit}, {kUnit}}, nullptr, nullptr);
  const auto write_tight = [&](std::uint32_t blob) {
    tight.acquire_blocking(Blobs{blob});
    tight.release(Blobs{blob}, true);
  };
  write_tight(0);
  write_tight(1);
  try {
    tight.acquire_blocking(Blobs{2});
    FAIL() << "2 blobs were spilled to a disk for 1";
  } catch (const DiskFull& failure) {
    EXPECT_EQ(failure.code(), ExitCode::capacity);
  }
}

TEST_F(BlobCacheTest, AFailedCommitCanBeRepeated) {
  make({1, 1, 1}, 3);
  for (const std::uint32_t blob : {0, 1, 2}) write(blob, blob);
  for (int failing = 0; failing < 3; ++failing) {
    disk.faults.writes_until_failure = failing == 0 ? 0 : 1;
    write(0, 50);
    write(1, 51);
    EXPECT_THROW(cache->commit(kUnit), Failure);
    EXPECT_NE(cache->place(0), BlobPlace::moving);
    disk.faults.writes_until_failure = -1;
  }
  const auto state = cache->commit(kUnit);
  cache->drop_superseded();
  ASSERT_EQ(state.size(), 3u);
  settle();
  EXPECT_EQ(disk.versions().size(), 3u);
}

TEST_F(BlobCacheTest, TheSecondOfTwoTasksIsServedWhenTheFirstOneEnds) {
  make({2, 1, 2}, 3);
  get({0, 1});
  EXPECT_FALSE(cache->acquire(Blobs{1, 2}));
  pool.drain();
  const auto seen = bell.rings();
  put({0, 1}, true);
  EXPECT_TRUE(bell.wait(seen));
  EXPECT_TRUE(cache->acquire(Blobs{1, 2}));
}

TEST_F(BlobCacheTest, AnAbandonedAcquireHoldsNobodyUp) {
  make({2, 2, 2, 2}, 2);
  for (const std::uint32_t blob : {0, 1, 2, 3}) write(blob, blob);
  for (int round = 0; round < 30; ++round) {
    cache->acquire(Blobs{static_cast<std::uint32_t>(round) % 3});  // and never again, unless it happens to succeed
    if (round % 2 == 0) pool.drain();
    EXPECT_TRUE(reads(3, 3));
    for (std::uint32_t blob = 0; blob < 3; ++blob) {
      try {
        put({blob}, false);
      } catch (const std::logic_error&) {  // it was not pinned
      }
    }
  }
}

}  // namespace
}  // namespace hopyard
