// A state goes from disk tier to disk tier, whatever its blobs are.
#include "hopper/state_transfer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "base/rng.h"
#include "fakes/memory_disk_tier.h"
#include "fakes/memory_transport.h"
#include "formats/digest.h"

namespace hopyard {
namespace {

std::vector<std::byte> content(Bytes bytes, std::uint64_t seed) {
  std::vector<std::byte> out(bytes);
  KeyedStream stream(seed);
  for (Bytes at = 0; at < bytes; at += 8) {
    const std::uint64_t word = stream.next();
    std::memcpy(out.data() + at, &word, std::min<Bytes>(8, bytes - at));
  }
  return out;
}

/// A bit is wrong where it arrives.
class FlippingLink final : public Link {
 public:
  explicit FlippingLink(std::unique_ptr<Link> link) : link_(std::move(link)) {}
  TransferResult send(const Transfer& transfer, const ChunkSource& source) override {
    return link_->send(transfer, source);
  }
  TransferResult receive(const Transfer& transfer, const ChunkSink& sink) override {
    const ChunkSink flipping{sink.place, [&](Bytes offset, std::span<const std::byte> bytes) {
                               const auto place = std::span(const_cast<std::byte*>(bytes.data()), bytes.size());
                               if (!std::exchange(flipped_, true)) place[place.size() / 2] ^= std::byte{4};
                               return sink.arrived(offset, bytes);
                             }};
    return link_->receive(transfer, flipping);
  }
  void cancel(const std::string& reason) override { link_->cancel(reason); }
  bool broken() const override { return link_->broken(); }

 private:
  std::unique_ptr<Link> link_;
  bool flipped_ = false;
};

class StateTransferTest : public ::testing::Test {
 protected:
  /// A state whose blobs are in versions of their own, but for the first two.
  void hold(const std::vector<Bytes>& sizes) {
    std::vector<std::vector<std::byte>> all;
    for (std::uint32_t blob = 0; blob < sizes.size(); ++blob) {
      all.push_back(content(sizes[blob], blob));
      whole_.insert(whole_.end(), all.back().begin(), all.back().end());
    }
    for (std::uint32_t blob = 0; blob < sizes.size(); ++blob) {
      std::vector<BlobToWrite> together{{3 * blob, all[blob]}};
      if (blob == 0 && sizes.size() > 1) together.push_back({3, all[1]});
      Version version = blob == 1 ? state_.front().version : from_.write(together, Durability::durable);
      state_.push_back({3 * blob, sizes[blob], version});
    }
  }

  std::pair<StateTransfer, StateTransfer> hop(std::uint64_t number) {
    StateTransfer sent, received;
    std::thread other([&] {
      auto link = receiver_->open_link({sender_->id(), number}).link;
      if (flips_) link = std::make_unique<FlippingLink>(std::move(link));
      received = receive_state(*link, to_, state_, *host_.reserve(receiving_bytes(state_)));
    });
    const auto link = sender_->open_link({receiver_->id(), number}).link;
    sent = send_state(*link, from_, state_, *host_.reserve(sending_bytes(state_)));
    other.join();
    EXPECT_EQ(host_.used(), 0u);
    return {sent, received};
  }

  fakes::MemoryNetwork network_;
  std::unique_ptr<CoordinatorEnd> coordinator_ = network_.open_coordinator();
  std::unique_ptr<WorkerEnd> sender_ = network_.join(0), receiver_ = network_.join(1);
  bool flips_ = false;
  HostTier host_{GiB};
  MemoryDiskTier from_, to_;
  std::vector<HeldBlob> state_;
  std::vector<std::byte> whole_;
};

TEST_F(StateTransferTest, BlobsOfAllSizesArriveInVersionsThatAreNotTooLarge) {
  hold({0, 5 * MiB, 1, 0, 70 * MiB, 40 * MiB, 30 * MiB + 1, 3, 0});
  const auto [sent, received] = hop(1);
  EXPECT_EQ(sent.error, "");
  EXPECT_EQ(received.error, "");
  EXPECT_EQ(sent.digest, to_hex(digest_bytes(whole_)));
  EXPECT_EQ(from_.counters().read, whole_.size());  // also where chunks lie across pieces
  EXPECT_EQ(received.digest, sent.digest);
  ASSERT_EQ(received.blobs.size(), state_.size());
  std::size_t begin = 0;
  for (std::size_t i = 0; i < state_.size(); ++i) {
    const auto& blob = received.blobs[i];
    EXPECT_EQ(blob.blob, state_[i].blob);
    ASSERT_EQ(blob.bytes, state_[i].bytes);
    std::vector<std::byte> there(blob.bytes);
    to_.read(blob.version, blob.blob, 0, there);
    EXPECT_TRUE(std::equal(there.begin(), there.end(), whole_.begin() + static_cast<std::ptrdiff_t>(begin))) << i;
    begin += blob.bytes;
  }
  EXPECT_EQ(to_.versions().size(), 4u) << "5 MiB and 1, 70 MiB, 40 MiB, 30 MiB and what follows";
}

TEST_F(StateTransferTest, AStateOfNoBytesArrives) {
  hold({0, 0});
  const auto [sent, received] = hop(1);
  EXPECT_EQ(sent.error + received.error, "");
  EXPECT_EQ(received.digest, sent.digest);
  EXPECT_EQ(received.blobs.size(), 2u);
}

TEST_F(StateTransferTest, WhatFailsLeavesNothingAndCanBeTriedAgain) {
  hold({10 * MiB, 60 * MiB, 20 * MiB});
  network_.tear_links_after(75 * MiB);  // in the second version
  const auto [sent, received] = hop(1);
  EXPECT_NE(sent.error, "");
  EXPECT_TRUE(sent.link_broke);
  EXPECT_NE(received.error, "");
  EXPECT_TRUE(to_.versions().empty());
  network_.tear_links_after(~Bytes{0});
  from_.faults.reads_until_failure = 3;
  const auto [unread, refused] = hop(2);
  EXPECT_NE(unread.error.find("injected"), std::string::npos) << unread.error;
  EXPECT_FALSE(unread.link_broke);
  EXPECT_NE(refused.error, "");
  to_.faults.writes_until_failure = 1;
  const auto [lost, unwritten] = hop(3);
  EXPECT_NE(lost.error, "");
  EXPECT_TRUE(lost.link_broke);
  EXPECT_NE(unwritten.error.find("injected"), std::string::npos) << unwritten.error;
  EXPECT_TRUE(to_.versions().empty());
  const auto [last, there] = hop(4);
  EXPECT_EQ(last.error + there.error, "");
  EXPECT_EQ(there.digest, to_hex(digest_bytes(whole_)));
}

TEST_F(StateTransferTest, WhatIsNotAsItWasIsNotTaken) {
  hold({100, 9 * MiB});
  flips_ = true;
  const auto [sent, received] = hop(1);
  EXPECT_EQ(sent.digest, to_hex(digest_bytes(whole_)));
  EXPECT_NE(received.digest, sent.digest);
  EXPECT_NE(received.error.find(sent.digest), std::string::npos) << received.error;
  EXPECT_TRUE(to_.versions().empty());
}

}  // namespace
}  // namespace hopyard
