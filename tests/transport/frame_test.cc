#include "transport/frame.h"

#include <gtest/gtest.h>

#include "transport/outbox.h"
#include "transport/test_membership.h"

namespace hopyard {
namespace {

using Way = FrameSeal::Way;
using Took = Assembly::Took;

const Frame kFrame{Frame::Kind::message, {3, 7}, 5, std::string("a\0b", 3)};

TEST(Frame, OpensWhatItSealed) {
  const FrameSeal seal(test_options().membership, "challenge");
  EXPECT_EQ(seal.open(seal.seal(kFrame, Way::to_worker), Way::to_worker), kFrame);
}

TEST(Frame, OpensNothingOfAnotherSecretSessionOrWay) {
  const auto options = test_options();
  const FrameSeal seal(options.membership, "challenge");
  auto stranger = options.membership;
  stranger.secret = "another";
  const auto bytes = seal.seal(kFrame, Way::to_worker);
  EXPECT_EQ(seal.open(bytes, Way::to_coordinator), std::nullopt);
  EXPECT_EQ(FrameSeal(stranger, "challenge").open(bytes, Way::to_worker), std::nullopt);
  EXPECT_EQ(FrameSeal(options.membership, "another").open(bytes, Way::to_worker), std::nullopt);
  EXPECT_EQ(FrameSeal::open_unchecked(bytes), kFrame);
}

TEST(Frame, EveryFlippedBitAndEveryCutIsSeen) {
  const FrameSeal seal(test_options().membership, "challenge");
  const auto bytes = seal.seal(kFrame, Way::to_worker);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      EXPECT_EQ(seal.open(changed, Way::to_worker), std::nullopt) << i;
    }
    EXPECT_EQ(seal.open(bytes.substr(0, i), Way::to_worker), std::nullopt) << i;
    FrameSeal::open_unchecked(bytes.substr(0, i));
  }
  EXPECT_EQ(seal.open(bytes + "x", Way::to_worker), std::nullopt);
  EXPECT_EQ(seal.open("", Way::to_worker), std::nullopt);
}

TEST(Frame, JoinRequestsAreReadBackOrNotAtAll) {
  const JoinRequest request{1, 3, "1.0", "digest", "mailbox"};
  const auto bytes = encode(request);
  EXPECT_EQ(decode_join(bytes), request);
  for (std::size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(decode_join(bytes.substr(0, i)), std::nullopt);
  EXPECT_EQ(decode_join(encode({1, 3, std::string(1000, 'v'), "", "m"})), std::nullopt);
}

TEST(Frame, RefusalsSayWhy) {
  const auto membership = test_options().membership;
  const std::string& ours = membership.experiment;
  const JoinRequest right{1, 3, "1.0", ours, "mailbox"};
  EXPECT_EQ(refusal_of(right, true, membership, 3), std::nullopt);
  const auto refused = [&](JoinRequest request, bool tag, const char* why) {
    const auto refusal = refusal_of(request, tag, membership, 3);
    ASSERT_TRUE(refusal);
    EXPECT_NE(refusal->find(why), std::string::npos) << *refusal;
  };
  refused(right, false, "secret");
  refused({1, 3, "2.0", ours, "m"}, true, "version 2.0");
  refused({1, 3, "1.0", "another", "m"}, true, "it has another, and the coordinator config 1, data 4, links a");
  refused({1, 3, "1.0", ours + ";more", "m"}, true, "it has more, and the coordinator nothing else");
  refused({1, 4, "1.0", ours, "m"}, true, "one of 4 workers");
  refused({3, 3, "1.0", ours, "m"}, true, "rank 3");
}

TEST(Assembly, TakesFramesOnceInOrderAndNoGaps) {
  Assembly assembly;
  EXPECT_EQ(assembly.take({Frame::Kind::part, {}, 1, "a"}), Took::part);
  EXPECT_EQ(assembly.take({Frame::Kind::part, {}, 1, "a"}), Took::again);
  EXPECT_EQ(assembly.take({Frame::Kind::message, {}, 2, "b"}), Took::whole);
  EXPECT_EQ(assembly.message(), "ab");
  EXPECT_EQ(assembly.take({Frame::Kind::message, {}, 3, ""}), Took::whole);
  EXPECT_EQ(assembly.message(), "");
  EXPECT_EQ(assembly.take({Frame::Kind::message, {}, 5, "d"}), Took::gap);
}

TEST(Outbox, HoldsABoundedAmountAndGivesItBackInOrder) {
  Outbox outbox;
  const std::string half(kMaxQueuedBytes / 2, 'x');
  EXPECT_TRUE(outbox.add({"q", {Frame::Kind::message, {1, 1}, 1, half}}));
  EXPECT_TRUE(outbox.add({"q", {Frame::Kind::message, {2, 2}, 1, half}}));
  EXPECT_FALSE(outbox.add({"q", {Frame::Kind::message, {1, 1}, 2, "x"}}));
  outbox.drop_messages_to({1, 1});
  EXPECT_TRUE(outbox.add({"q", {Frame::Kind::message, {1, 1}, 2, "y"}}));
  outbox.close();
  EXPECT_FALSE(outbox.add({"q", {Frame::Kind::message, {1, 1}, 3, ""}}));
  EXPECT_EQ(outbox.take()->frame.worker.rank, 2u);
  EXPECT_EQ(outbox.take()->frame.body, "y");
  EXPECT_FALSE(outbox.take());
}

}  // namespace
}  // namespace hopyard
