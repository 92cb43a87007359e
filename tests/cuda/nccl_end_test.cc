// Links and groups over NCCL, between fake cards: the conformance suite of transports, over the fake one and over the
// real one, and what NCCL may do to them.
#include "cuda/nccl_end.h"

#include <gmock/gmock.h>

#include <mutex>
#include <set>

#include "cuda/nccl_staging.h"
#include "fakes/fake_nccl.h"
#include "transport/harnesses.h"

namespace hopyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// A worker's card and NCCL there.
struct Card {
  Card(fakes::NcclNetwork& network, std::uint32_t rank, std::string name)
      : cuda(std::make_shared<fakes::FakeCuda>(
            fakes::FakeCudaSpec{.seed = rank, .memory = 2 * kNcclStagingBytes, .delay_s_max = 1e-4})),
        nccl(std::make_shared<fakes::FakeNccl>(network, cuda)),
        name(std::move(name)) {}
  std::shared_ptr<fakes::FakeCuda> cuda;
  std::shared_ptr<fakes::FakeNccl> nccl;
  std::string name;
};

/// A worker for each rank, with a card of its own, around a transport of another kind.
template <class Beneath>
class NcclHarness : public TransportHarness {
 public:
  ~NcclHarness() override {
    for (auto& [rank, card] : cards_) {
      EXPECT_EQ(card.nccl->misuse(), "") << rank;
      EXPECT_EQ(card.nccl->open(), 0u) << rank;
      EXPECT_EQ(card.cuda->misuse(), "") << rank;
      EXPECT_TRUE(card.cuda->all_given_back()) << rank;
    }
  }
  CoordinatorEnd& coordinator() override { return beneath_.coordinator(); }
  void end_coordinator() override { beneath_.end_coordinator(); }
  std::unique_ptr<WorkerEnd> join(std::uint32_t rank) override {
    const Card& card = cards_.try_emplace(rank, network_, rank, text::cat("GPU-", rank)).first->second;
    return make_nccl_end(beneath_.join(rank), {card.cuda, card.nccl, card.name, ""},
                         [](const std::string& warning) { ADD_FAILURE() << warning; });
  }
  std::function<void()> join_elsewhere(std::uint32_t rank) override { return beneath_.join_elsewhere(rank); }

 private:
  fakes::NcclNetwork network_;
  std::map<std::uint32_t, Card> cards_;
  Beneath beneath_;
};

INSTANTIATE_TEST_SUITE_P(
    OverNccl, TransportConformance,
    testing::Values(TransportCase{"memory", [] { return std::make_unique<NcclHarness<MemoryHarness>>(); }},
                    TransportCase{"store", [] { return std::make_unique<NcclHarness<StoreHarness>>(); }}),
    [](const auto& info) { return info.param.name; });

constexpr Bytes kLarge = 9 * kChunkBytes + 1234;

/// Two workers, each with a card.
class NcclEndTest : public testing::Test {
 protected:
  void TearDown() override {
    for (auto* opened : {&here, &there}) opened->link.reset();
    first.reset();
    second.reset();
    for (const Card* card : {&cards[0], &cards[1]}) {
      EXPECT_EQ(card->nccl->misuse(), "");
      EXPECT_EQ(card->nccl->open(), 0u);
      EXPECT_EQ(card->cuda->misuse(), "");
      EXPECT_TRUE(lost || card->cuda->all_given_back());
    }
  }

  void join() {
    first = join(1, 0);
    second = join(2, 1);
  }
  std::unique_ptr<WorkerEnd> join(std::uint32_t rank, std::size_t card) {
    NcclParts parts{cards[card].cuda, cards[card].nccl, cards[card].name, why_not[card]};
    if (!parts.why_not.empty()) parts.calls = nullptr, parts.nccl = nullptr;
    return make_nccl_end(network.join(rank), parts, [this, card](const std::string& warning) {
      const std::lock_guard lock(mutex);
      warnings[card].push_back(warning);
    });
  }
  void open(std::uint64_t number, double stall_s = 10) {
    std::thread other([&] { there = second->open_link({first->id(), number, 5, stall_s}); });
    here = first->open_link({second->id(), number, 5, stall_s});
    other.join();
  }
  /// What both ends said of a transfer from first to second.
  std::pair<TransferResult, TransferResult> transfer(std::uint32_t tag, Bytes bytes = kLarge) {
    const auto content = transfer_bytes(bytes, tag);
    std::vector<std::byte> copy(bytes);
    TransferResult sent;
    std::thread sender([&] { sent = send_all(*here.link, tag, content); });
    const auto received = receive_all(*there.link, tag, copy);
    sender.join();
    EXPECT_TRUE(!sent.ok() || !received.ok() || copy == content) << tag;
    return {sent, received};
  }
  void expect_whole(std::uint32_t tag) {
    const auto [sent, received] = transfer(tag);
    EXPECT_EQ(sent.error, "");
    EXPECT_EQ(received.error, "");
  }
  std::uint64_t operations() const { return cards[0].nccl->operations() + cards[1].nccl->operations(); }

  fakes::MemoryNetwork network;
  std::unique_ptr<CoordinatorEnd> coordinator = network.open_coordinator();
  fakes::NcclNetwork nccl;
  Card cards[2] = {{nccl, 1, "GPU-a"}, {nccl, 2, "GPU-b"}};
  std::string why_not[2];
  std::mutex mutex;
  std::vector<std::string> warnings[2];  // guarded by mutex
  std::unique_ptr<WorkerEnd> first, second;
  OpenedLink here, there;
  bool lost = false;  ///< a card, on which what was asked for may still be under way
};

TEST_F(NcclEndTest, LargeTransfersGoOverNcclAndAreCountedOnce) {
  join();
  open(1);
  ASSERT_TRUE(here.link && there.link);
  expect_whole(1);
  EXPECT_EQ(cards[0].nccl->operations(), 10u) << "a send for each chunk";
  EXPECT_EQ(cards[1].nccl->operations(), 10u);
  const auto sent = first->traffic()[2].bulk_sent;
  EXPECT_EQ(sent, second->traffic()[1].bulk_received);
  EXPECT_GE(sent, kLarge);
  EXPECT_LE(sent, kLarge + 10'000);
  const auto [small, taken] = transfer(2, 1000);
  EXPECT_TRUE(small.ok() && taken.ok());
  EXPECT_EQ(operations(), 20u) << "small ones go beneath";
  EXPECT_THAT(warnings[0], IsEmpty());
}

TEST_F(NcclEndTest, ASecondTransferTheSameWayGoesBeneathMeanwhile) {
  join();
  open(1);
  ASSERT_TRUE(here.link && there.link);
  const auto content = transfer_bytes(kLarge, 1);
  std::vector<std::byte> copy(kLarge);
  std::thread sender([&] {
    const auto source = [&](Bytes offset, Bytes bytes) {
      if (offset == 5 * kChunkBytes) {  // the other one, from its first chunk to its last
        EXPECT_GT(operations(), 0u);
        const auto before = operations();
        expect_whole(2);
        EXPECT_LE(operations(), before + 2 * kChunksInFlight);
      }
      return std::span<const std::byte>(content).subspan(offset, bytes);
    };
    EXPECT_EQ(here.link->send({1, kLarge}, {source, {}}).error, "");
  });
  EXPECT_EQ(receive_all(*there.link, 1, copy).error, "");
  sender.join();
  EXPECT_TRUE(copy == content);
  EXPECT_EQ(operations(), 20u);
}

TEST_F(NcclEndTest, StagingIsUsedAnewByLinkAfterLink) {
  join();
  for (std::uint64_t number = 1; number <= 2 * NcclStagings::kMax; ++number) {
    open(number);
    ASSERT_TRUE(here.link && there.link);
    expect_whole(1);
  }
  EXPECT_LE(cards[0].cuda->memory().peak, kNcclStagingBytes / 2 + MiB) << "those of two links, the old and the new one";
}

TEST_F(NcclEndTest, WhereStagingIsTakenLinksGoBeneath) {
  join();
  std::vector<std::pair<OpenedLink, OpenedLink>> many;
  for (std::uint64_t number = 1; number <= NcclStagings::kMax / 2 + 2; ++number) {
    open(number);
    ASSERT_TRUE(here.link && there.link);
    many.emplace_back(std::move(here), std::move(there));
  }
  EXPECT_THAT(warnings[0], ElementsAre(HasSubstr("all memory for chunks is in use")));
  here = std::move(many.back().first);
  there = std::move(many.back().second);
  expect_whole(1);
  EXPECT_EQ(operations(), 0u);
  many.clear();
}

TEST_F(NcclEndTest, WithoutNcclAtOneEndBothGoBeneathAndSayWhyOnce) {
  why_not[1] = "libnccl.so.2 lacks";
  join();
  for (std::uint64_t number = 1; number <= 3; ++number) {
    open(number);
    ASSERT_TRUE(here.link && there.link);
    expect_whole(1);
  }
  EXPECT_EQ(operations(), 0u);
  const auto why = HasSubstr(to_string(second->id()) + ": libnccl.so.2 lacks");
  EXPECT_THAT(warnings[0], ElementsAre(why));
  EXPECT_THAT(warnings[1], ElementsAre(why));
}

TEST_F(NcclEndTest, TwoWorkersOfOneCardGoBeneath) {
  cards[1].name = cards[0].name;
  join();
  open(1);
  ASSERT_TRUE(here.link && there.link);
  expect_whole(1);
  EXPECT_EQ(operations(), 0u);
  EXPECT_THAT(warnings[0], ElementsAre(HasSubstr("use the same card (GPU-a)")));
  EXPECT_EQ(warnings[0], warnings[1]);
}

TEST_F(NcclEndTest, WhereMembersDoNotMeetLinksGoBeneath) {
  join();
  cards[0].nccl->faults.no_ids = true;
  open(1);
  ASSERT_TRUE(here.link && there.link);
  expect_whole(1);
  EXPECT_EQ(operations(), 0u);
  EXPECT_THAT(warnings[1], ElementsAre(HasSubstr("no socket to meet at")));
  cards[0].nccl->faults.no_ids = false;
  open(2);
  expect_whole(1);
  EXPECT_EQ(operations(), 20u);
  cards[1].nccl->faults.never_connects = true;
  open(3, 1);
  ASSERT_TRUE(here.link && there.link);
  expect_whole(1);
  EXPECT_EQ(operations(), 20u);
  EXPECT_THAT(warnings[0], ElementsAre(testing::_, HasSubstr("the members have not met within")));
}

TEST_F(NcclEndTest, MembersThatDidNotMeetAreNotWaitedForAgain) {
  join();
  cards[1].nccl->faults.never_connects = true;
  open(1, 1);
  const double start_s = monotonic_seconds();
  for (std::uint64_t number = 2; number < 6; ++number) {
    open(number, 60);
    ASSERT_TRUE(here.link && there.link);
    expect_whole(1);
  }
  EXPECT_LT(monotonic_seconds() - start_s, 8) << "of ten for each link";
  EXPECT_EQ(operations(), 0u);
  for (const auto& said : warnings) EXPECT_THAT(said, SizeIs(1));
  cards[1].nccl->faults.never_connects = false;
  here.link.reset(), there.link.reset();
  second.reset();
  second = join(2, 1);
  open(6);
  ASSERT_TRUE(here.link && there.link);
  expect_whole(1);
  EXPECT_EQ(operations(), 20u) << "a worker that comes back is tried anew";
}

TEST_F(NcclEndTest, WithoutMemoryOnTheCardLinksGoBeneath) {
  cards[1].cuda = std::make_shared<fakes::FakeCuda>(fakes::FakeCudaSpec{.memory = kChunkBytes});
  join();
  open(1);
  ASSERT_TRUE(here.link && there.link);
  expect_whole(1);
  EXPECT_EQ(operations(), 0u);
  EXPECT_THAT(warnings[0], ElementsAre(HasSubstr("no memory left")));
}

TEST_F(NcclEndTest, WhatHangsEndsByTheBoundAtBothEndsAndTheNextLinkIsWhole) {
  join();
  std::uint64_t number = 1;
  open(number);
  expect_whole(1);
  for (const auto fault : {&fakes::NcclFaults::hangs_after, &fakes::NcclFaults::fails_after,
                           &fakes::NcclFaults::never_begins_after, &fakes::NcclFaults::blocks_after})
    for (const std::size_t at : {0, 1}) {
      SCOPED_TRACE(number);
      open(++number, 1);
      ASSERT_TRUE(here.link && there.link);
      auto& faults = cards[at].nccl->faults;
      faults.*fault = cards[at].nccl->operations() + 3;
      const double start_s = monotonic_seconds();
      const auto [sent, received] = transfer(1);
      EXPECT_LT(monotonic_seconds() - start_s, 8);
      EXPECT_FALSE(sent.ok());
      EXPECT_FALSE(received.ok());
      EXPECT_TRUE(here.link->broken());
      EXPECT_TRUE(there.link->broken());
      faults.*fault = fakes::NcclFaults::kNever;
      open(++number);
      expect_whole(2);
    }
  EXPECT_THAT(warnings[0], IsEmpty());
}

TEST_F(NcclEndTest, AWorkerThatDiesInMidTransferIsHeardOf) {
  join();
  open(1, 2);
  ASSERT_TRUE(here.link && there.link);
  const auto content = transfer_bytes(kLarge, 1);
  TransferResult sent;
  std::thread sender([&] { sent = send_all(*here.link, 1, content); });
  std::vector<std::byte> copy(kLarge);
  const double start_s = monotonic_seconds();
  const auto received = there.link->receive(
      {1, kLarge}, {[&](Bytes offset, Bytes bytes) { return std::span(copy).subspan(offset, bytes); },
                    [&](Bytes offset, std::span<const std::byte>) {
                      if (offset == 3 * kChunkBytes) {
                        cards[1].nccl->faults.hangs_after = 0;  // its card stands still, too
                        network.kill(second->id());
                      }
                      return true;
                    }});
  sender.join();
  EXPECT_THAT(sent.error, HasSubstr("is gone"));
  EXPECT_FALSE(received.ok());
  EXPECT_LT(monotonic_seconds() - start_s, 8);
}

TEST_F(NcclEndTest, CancellingEndsBothEndsWhereverTheyAre) {
  join();
  for (const bool at_sender : {false, true}) {
    SCOPED_TRACE(at_sender);
    cards[1].nccl->faults.hangs_after = cards[1].nccl->operations() + 2;
    open(at_sender ? 2 : 1, 60);
    ASSERT_TRUE(here.link && there.link);
    std::thread canceller([&] {
      sleep_seconds(0.3);
      (at_sender ? here : there).link->cancel("the visit was abandoned");
    });
    const double start_s = monotonic_seconds();
    const auto [sent, received] = transfer(1);
    canceller.join();
    EXPECT_THAT((at_sender ? sent : received).error, HasSubstr("the visit was abandoned"));
    EXPECT_FALSE((at_sender ? received : sent).ok());
    EXPECT_LT(monotonic_seconds() - start_s, 10);
    cards[1].nccl->faults.hangs_after = fakes::NcclFaults::kNever;
  }
}

TEST_F(NcclEndTest, GroupsOfManyValuesAddUpOverNccl) {
  join();
  const std::vector<WorkerId> members{first->id(), second->id()};
  std::vector<double> many[2], few[2];
  const auto live = [&](std::size_t m) {
    const auto opened = (m == 0 ? first : second)->open_group({members, 1, 5, 5});
    ASSERT_EQ(opened.error, "");
    many[m].assign(3 * kChunkBytes / sizeof(double) + 7, static_cast<double>(m + 1));
    few[m].assign(10, static_cast<double>(m + 1));
    EXPECT_EQ(opened.group->all_reduce(many[m]).error, "");
    EXPECT_EQ(opened.group->all_reduce(few[m]).error, "");
  };
  std::thread other([&] { live(1); });
  live(0);
  other.join();
  EXPECT_EQ(cards[0].nccl->operations(), 4u) << "one for each chunk of the many";
  for (const std::size_t m : {0, 1}) {
    EXPECT_EQ(std::count(many[m].begin(), many[m].end(), 3.0), std::ssize(many[m]));
    EXPECT_EQ(std::count(few[m].begin(), few[m].end(), 3.0), std::ssize(few[m]));
  }
}

TEST_F(NcclEndTest, AGroupThatHangsEndsByItsBoundAndOneOfOneCardGoesBeneath) {
  join();
  std::vector<WorkerId> members{first->id(), second->id()};
  cards[1].nccl->faults.hangs_after = 2;
  std::vector<float> many[2];
  const auto live = [&](std::size_t m, std::uint64_t number) {
    const auto opened = (m == 0 ? first : second)->open_group({members, number, 5, 1});
    ASSERT_EQ(opened.error, "");
    many[m].assign(kLarge / sizeof(float), 1);
    const auto result = opened.group->all_reduce(many[m]);
    EXPECT_EQ(result.ok(), number == 2) << result.error;
    EXPECT_TRUE(number == 2 || opened.group->broken());
  };
  for (const std::uint64_t number : {1, 2}) {
    const double start_s = monotonic_seconds();
    std::thread other([&] { live(1, number); });
    live(0, number);
    other.join();
    EXPECT_LT(monotonic_seconds() - start_s, 6);
    if (number == 2) break;
    const auto before = operations();
    EXPECT_GT(before, 0u);
    first.reset();
    second.reset();
    cards[1].name = cards[0].name;
    join();
    members = {first->id(), second->id()};
  }
  EXPECT_EQ(std::count(many[0].begin(), many[0].end(), 2.0f), std::ssize(many[0]));
  EXPECT_THAT(warnings[0], ElementsAre(HasSubstr("use the same card")));
}

TEST_F(NcclEndTest, ALostCardBreaksLinksAndNothingElse) {
  join();
  open(1, 2);
  ASSERT_TRUE(here.link && there.link);
  lost = true;
  cards[0].cuda->fail_after(40, CudaFault::lost_card);
  const auto [sent, received] = transfer(1);
  EXPECT_THAT(sent.error, HasSubstr("fake card"));
  EXPECT_FALSE(received.ok());
  EXPECT_EQ(first->send("alive"), SendStatus::queued);
  here.link.reset();
  there.link.reset();
  open(2);
  ASSERT_TRUE(here.link && there.link);
  EXPECT_THAT(warnings[1], ElementsAre(HasSubstr("the card is lost")));
  expect_whole(2);
}

}  // namespace
}  // namespace hopyard
