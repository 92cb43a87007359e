// Many hops at a time between workers, which have little memory for them.
#include "experiment/state_hops.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/failure.h"
#include "fakes/memory_disk_tier.h"
#include "fakes/memory_state_book.h"
#include "fakes/memory_transport.h"

namespace hopyard {
namespace {

constexpr Bytes kBlobBytes = 100'000;

/// What a worker has for its hops.
struct HoppingNode {
  HoppingNode(fakes::MemoryNetwork& network, std::uint32_t rank, Bytes memory, Bytes disk_bytes = GiB)
      : end(network.join(rank)), host(memory), below(disk_bytes), hops({*end, host, disk, states, [] {}}) {}

  void hold(const std::string& trial) {
    const std::vector<std::byte> content(kBlobBytes, std::byte{static_cast<unsigned char>(trial.size())});
    const BlobToWrite blobs[] = {{0, content}, {1, std::span(content).first(1)}};
    const Version version = disk.write(blobs, Durability::durable);
    states.put({trial, 1, "digest of " + trial, {{0, kBlobBytes, version}, {1, 1, version}}});
  }
  std::size_t await_ends(std::size_t count, std::vector<HopEnd>& ends) {
    for (const double until_s = monotonic_seconds() + 60; ends.size() < count && monotonic_seconds() < until_s;) {
      for (auto& one : hops.take()) ends.push_back(std::move(one));
      sleep_seconds(0.002);
    }
    return ends.size();
  }

  std::unique_ptr<WorkerEnd> end;
  HostTier host;
  MemoryDiskTier below;
  SharedVersions disk{below};
  MemoryStateBook book;
  HeldStates states{book, disk};
  StateHops hops;
};

class StateHopsTest : public ::testing::Test {
 protected:
  void order(HoppingNode& from, HoppingNode& to, const std::string& trial) {
    const std::uint64_t number = ++number_;
    const std::vector<HeldBlob> blobs{{0, kBlobBytes, 0}, {1, 1, 0}};
    to.hops.begin({number, false, from.end->id(), trial, 1, "digest of " + trial, blobs});
    from.hops.begin({number, true, to.end->id(), trial, 1, "digest of " + trial, blobs});
  }

  fakes::MemoryNetwork network_;
  std::unique_ptr<CoordinatorEnd> coordinator_ = network_.open_coordinator();
  std::uint64_t number_ = 0;
};

TEST_F(StateHopsTest, ManyHopsGoOnInLittleMemoryWithoutFailingEachOther) {
  constexpr int kTrials = 15;
  HoppingNode nodes[] = {{network_, 0, 2 * MiB / 5}, {network_, 1, 2 * MiB / 5}, {network_, 2, 2 * MiB / 5}};
  for (int i = 0; i < 3; ++i)
    for (int trial = 0; trial < kTrials; ++trial) nodes[i].hold(text::cat('t', i, '.', trial));
  for (int trial = 0; trial < kTrials; ++trial)
    for (int i = 0; i < 3; ++i)
      for (const int to : {(i + 1) % 3, (i + 2) % 3}) order(nodes[i], nodes[to], text::cat('t', i, '.', trial));
  for (auto& node : nodes) {
    std::vector<HopEnd> ends;
    ASSERT_EQ(node.await_ends(4 * kTrials, ends), 4u * kTrials);
    for (const auto& end : ends) EXPECT_EQ(end.error, "") << end.number;
    EXPECT_EQ(node.book.all().size(), 3u * kTrials);
    EXPECT_EQ(node.disk.versions().size(), 3u * kTrials);
    EXPECT_LE(node.host.peak(), node.host.capacity());
    EXPECT_EQ(node.host.used(), 0u);
  }
}

TEST_F(StateHopsTest, AChainOfHopsCanBeOrderedAtOnce) {
  HoppingNode first(network_, 0, MiB), second(network_, 1, MiB), third(network_, 2, MiB);
  first.hold("t");
  order(second, third, "t");
  order(first, second, "t");
  std::vector<HopEnd> ends;
  third.await_ends(1, ends);
  second.await_ends(3, ends);
  for (const auto& end : ends) EXPECT_EQ(end.error, "");
  EXPECT_EQ(third.book.all().size(), 1u);
}

TEST_F(StateHopsTest, AHopThatIsShortOfMemorySaysSoAndWaits) {
  HoppingNode from(network_, 0, MiB), to(network_, 1, MiB);
  from.hold("t");
  auto taken = to.host.reserve(MiB);
  order(from, to, "t");
  for (const double until_s = monotonic_seconds() + 20; !to.hops.waits_for_memory() && monotonic_seconds() < until_s;)
    sleep_seconds(0.002);
  EXPECT_TRUE(to.hops.waits_for_memory());
  taken.reset();
  std::vector<HopEnd> ends;
  EXPECT_EQ(to.await_ends(1, ends), 1u);
  EXPECT_EQ(ends.front().error, "");
  EXPECT_FALSE(to.hops.waits_for_memory());
}

TEST_F(StateHopsTest, WhoLeavesAmidHopsLeavesAtOnceAndNothingBehind) {
  HoppingNode to(network_, 1, MiB);
  auto taken = to.host.reserve(MiB);
  double begin_s = 0;
  {
    HoppingNode from(network_, 0, MiB);
    for (const auto* trial : {"t", "tt", "ttt"}) {
      from.hold(trial);
      order(from, to, trial);
    }
    while (!to.hops.waits_for_memory()) sleep_seconds(0.002);
    begin_s = monotonic_seconds();
  }
  EXPECT_LT(monotonic_seconds() - begin_s, kHopTurnSeconds / 2);
  taken.reset();
  std::vector<HopEnd> ends;
  EXPECT_EQ(to.await_ends(3, ends), 3u);
  for (const auto& end : ends) EXPECT_NE(end.error, "");
  EXPECT_TRUE(to.book.all().empty() && to.disk.versions().empty());
}

TEST_F(StateHopsTest, AStateThatIsSentMayBeForgottenMeanwhile) {
  HoppingNode from(network_, 0, MiB), to(network_, 1, MiB);
  from.hold("t");
  auto taken = to.host.reserve(MiB);
  order(from, to, "t");
  while (!to.hops.waits_for_memory()) sleep_seconds(0.002);
  from.states.remove("t", 1);
  EXPECT_EQ(from.disk.versions().size(), 1u);
  taken.reset();
  std::vector<HopEnd> ends;
  to.await_ends(1, ends);
  from.await_ends(2, ends);
  for (const auto& end : ends) EXPECT_EQ(end.error, "");
  EXPECT_TRUE(from.disk.versions().empty());
}

TEST_F(StateHopsTest, AFullDiskIsWaitedForAndThenEndsTheWorker) {
  HoppingNode from(network_, 0, MiB), to(network_, 1, MiB, 2 * kBlobBytes);
  for (const char* trial : {"old", "new", "newer"}) from.hold(trial);
  to.hold("old");
  order(from, to, "new");  // one of them has room, and not a second one
  std::vector<HopEnd> ends;
  sleep_seconds(0.1);
  EXPECT_EQ(to.hops.take().size(), 0u);
  to.states.remove("old", 1);
  ASSERT_EQ(to.await_ends(1, ends), 1u);
  EXPECT_EQ(ends[0].error, "");
  EXPECT_TRUE(to.states.find("new", 1));
  order(from, to, "newer");
  EXPECT_THROW(to.await_ends(2, ends), DiskFull);
  EXPECT_EQ(to.below.versions().size(), 1u);
}

}  // namespace
}  // namespace hopyard
