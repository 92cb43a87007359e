// What every transport does. Instantiate TransportConformance with a harness for each implementation.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "transport/transport.h"

namespace hopyard {

/// A coordinator and three ranks.
class TransportHarness {
 public:
  virtual ~TransportHarness() = default;
  virtual CoordinatorEnd& coordinator() = 0;
  virtual void end_coordinator() = 0;
  virtual std::unique_ptr<WorkerEnd> join(std::uint32_t rank) = 0;
  /// A worker whose process can be killed, which is what the returned function does.
  virtual std::function<void()> join_elsewhere(std::uint32_t rank) = 0;
};

struct TransportCase {
  std::string name;
  std::function<std::unique_ptr<TransportHarness>()> make;
};

inline std::vector<std::byte> transfer_bytes(Bytes bytes, std::uint64_t key) {
  std::vector<std::byte> content(bytes);
  KeyedStream stream(key);
  for (Bytes i = 0; i < bytes; i += 8) {
    const std::uint64_t word = stream.next();
    std::memcpy(content.data() + i, &word, std::min<Bytes>(8, bytes - i));
  }
  return content;
}

inline TransferResult send_all(Link& link, std::uint32_t tag, const std::vector<std::byte>& content) {
  return link.send({tag, content.size()},
                   {[&](Bytes offset, Bytes bytes) { return std::span(content).subspan(offset, bytes); }, nullptr});
}

inline TransferResult receive_all(Link& link, std::uint32_t tag, std::vector<std::byte>& content) {
  return link.receive({tag, content.size()},
                      {[&](Bytes offset, Bytes bytes) { return std::span(content).subspan(offset, bytes); },
                       [](Bytes, std::span<const std::byte>) { return true; }});
}

class TransportConformance : public testing::TestWithParam<TransportCase> {
 protected:
  using Kind = CoordinatorEvent::Kind;
  static constexpr double kSoon = 10;  // far beyond what anything takes, also on a machine under load

  CoordinatorEnd& coordinator() { return harness->coordinator(); }

  /// The next event that is not about silence.
  CoordinatorEvent event() {
    for (double until_s = monotonic_seconds() + kSoon; monotonic_seconds() < until_s;) {
      const auto next = coordinator().next(kSoon);
      if (next && next->kind != Kind::silent && next->kind != Kind::awake) return *next;
    }
    ADD_FAILURE() << "nothing happened";
    return {Kind::refused, {}, "nothing happened"};
  }
  std::unique_ptr<WorkerEnd> join(std::uint32_t rank) {
    auto worker = harness->join(rank);
    EXPECT_NE(worker, nullptr);
    const auto joined = event();
    EXPECT_EQ(joined.kind, Kind::joined);
    EXPECT_EQ(joined.worker, worker->id());
    return worker;
  }
  void join_pair() {
    first = join(1);
    second = join(2);
  }
  /// One link, its two ends.
  std::pair<OpenedLink, OpenedLink> open(std::uint64_t number, double stall_s = kSoon) {
    OpenedLink there;
    std::thread other([&] { there = second->open_link({first->id(), number, kSoon, stall_s}); });
    auto here = first->open_link({second->id(), number, kSoon, stall_s});
    other.join();
    EXPECT_EQ(here.error, "");
    EXPECT_EQ(there.error, "");
    return {std::move(here), std::move(there)};
  }

  std::unique_ptr<TransportHarness> harness = GetParam().make();
  std::unique_ptr<WorkerEnd> first, second;
};

TEST_P(TransportConformance, MessagesArriveInOrderEachOnceBothWays) {
  join_pair();
  constexpr int kMessages = 200;
  for (int i = 0; i < kMessages; ++i) {
    EXPECT_EQ(first->send("a" + std::to_string(i)), SendStatus::queued);
    EXPECT_EQ(second->send("b" + std::to_string(i)), SendStatus::queued);
    EXPECT_EQ(coordinator().send(first->id(), "c" + std::to_string(i)), SendStatus::queued);
  }
  std::map<WorkerId, int> heard;
  for (int i = 0; i < 2 * kMessages; ++i) {
    const auto message = event();
    ASSERT_EQ(message.kind, Kind::message);
    const std::string letter = message.worker == first->id() ? "a" : "b";
    EXPECT_EQ(message.text, letter + std::to_string(heard[message.worker]++));
  }
  for (int i = 0; i < kMessages; ++i) EXPECT_EQ(first->receive(kSoon), "c" + std::to_string(i));
  EXPECT_EQ(first->receive(0), std::nullopt);
  EXPECT_EQ(second->receive(0), std::nullopt);
}

TEST_P(TransportConformance, TheLargestMessageArrivesAndALargerOneIsABrokenContract) {
  first = join(1);
  const auto content = transfer_bytes(kMaxMessageBytes, 1);
  const std::string large(reinterpret_cast<const char*>(content.data()), content.size());
  EXPECT_EQ(first->send(large), SendStatus::queued);
  EXPECT_TRUE(event().text == large);
  EXPECT_EQ(coordinator().send(first->id(), large), SendStatus::queued);
  EXPECT_TRUE(first->receive(kSoon) == large);
  EXPECT_THROW(first->send(large + "x"), std::logic_error);
  EXPECT_THROW(coordinator().send(first->id(), large + "x"), std::logic_error);
  EXPECT_GE(first->traffic()[0].control_sent, large.size());
  EXPECT_EQ(first->traffic()[0].control_sent, coordinator().traffic()[1].control_received);
  EXPECT_EQ(coordinator().traffic()[1].control_sent, first->traffic()[0].control_received);
}

TEST_P(TransportConformance, ACoordinatorThatWaitsCanBeWoken) {
  coordinator().wake();  // before it waits
  const double start_s = monotonic_seconds();
  EXPECT_EQ(coordinator().next(kSoon), std::nullopt);
  std::thread other([this] {
    sleep_seconds(0.05);
    coordinator().wake();
    coordinator().wake();
  });
  EXPECT_EQ(coordinator().next(kSoon), std::nullopt);
  other.join();
  EXPECT_LT(monotonic_seconds() - start_s, kSoon / 2);
  first = join(1);  // an event is heard all the same
  coordinator().next(0);
  EXPECT_EQ(coordinator().next(0.05), std::nullopt);
  EXPECT_GE(monotonic_seconds() - start_s, 0.09);
}

TEST_P(TransportConformance, WaitingForNothingEndsInTime) {
  first = join(1);
  const double start_s = monotonic_seconds();
  EXPECT_EQ(first->receive(0.05), std::nullopt);
  EXPECT_EQ(coordinator().next(0.05), std::nullopt);
  EXPECT_GE(monotonic_seconds() - start_s, 0.09);
  EXPECT_LT(monotonic_seconds() - start_s, 2);
}

TEST_P(TransportConformance, WhoeverComesBackIsANewOneAndTheOldOneIsHeardNoMore) {
  const auto old = join(1);
  auto harnessed = harness->join(1);
  ASSERT_NE(harnessed, nullptr);
  EXPECT_GT(harnessed->id().incarnation, old->id().incarnation);
  const auto dead = event();
  EXPECT_EQ(dead.kind, Kind::dead);
  EXPECT_EQ(dead.worker, old->id());
  EXPECT_NE(dead.text, "");
  EXPECT_EQ(event().kind, Kind::joined);

  EXPECT_EQ(old->receive(kSoon), std::nullopt);
  EXPECT_EQ(old->standing().kind, WorkerStanding::Kind::expelled);
  EXPECT_EQ(old->standing().reason, dead.text);
  EXPECT_EQ(old->send("from the grave"), SendStatus::gone);
  EXPECT_EQ(coordinator().send(old->id(), "to the grave"), SendStatus::gone);
  harnessed->send("alive");
  EXPECT_EQ(event().text, "alive");
}

TEST_P(TransportConformance, WhoeverIsExpelledReadsWhyAndNothingElse) {
  first = join(1);
  coordinator().send(first->id(), "an order");
  coordinator().expel(first->id(), "it trained on the wrong rows");
  EXPECT_EQ(event().kind, Kind::dead);
  for (const double until_s = monotonic_seconds() + kSoon;
       !first->standing().over() && monotonic_seconds() < until_s;) {
    sleep_seconds(0.01);
  }
  EXPECT_EQ(first->standing().kind, WorkerStanding::Kind::expelled);
  EXPECT_EQ(first->standing().reason, "it trained on the wrong rows");
  EXPECT_EQ(first->receive(0), std::nullopt);
  coordinator().expel(first->id(), "again");  // nobody is there
  EXPECT_EQ(coordinator().next(0.05), std::nullopt);
}

TEST_P(TransportConformance, AGoodByeComesAfterAllMessages) {
  first = join(1);
  for (int i = 0; i < 50; ++i) first->send(std::to_string(i));
  first.reset();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(event().text, std::to_string(i));
  EXPECT_EQ(event().kind, Kind::left);
}

TEST_P(TransportConformance, AKilledWorkerIsFoundDeadAndTheOthersGoOn) {
  first = join(1);
  const auto kill = harness->join_elsewhere(2);
  const auto joined = event();
  ASSERT_EQ(joined.kind, Kind::joined);
  kill();
  const double start_s = monotonic_seconds();
  const auto dead = event();
  EXPECT_EQ(dead.kind, Kind::dead);
  EXPECT_EQ(dead.worker, joined.worker);
  EXPECT_LT(monotonic_seconds() - start_s, 2);
  first->send("here");
  EXPECT_EQ(event().text, "here");
  EXPECT_EQ(first->standing().kind, WorkerStanding::Kind::connected);
}

TEST_P(TransportConformance, WithoutItsCoordinatorAWorkerIsLostSoon) {
  first = join(1);
  harness->end_coordinator();
  const double start_s = monotonic_seconds();
  while (first->receive(kSoon)) {
  }
  EXPECT_EQ(first->standing().kind, WorkerStanding::Kind::lost);
  EXPECT_NE(first->standing().reason, "");
  EXPECT_LT(monotonic_seconds() - start_s, 2);
  EXPECT_EQ(first->send("anybody?"), SendStatus::gone);
}

TEST_P(TransportConformance, TransfersOfOneLinkDoNotMixAndEveryByteIsCounted) {
  join_pair();
  auto [here, there] = open(1);
  ASSERT_TRUE(here.link && there.link);
  const std::vector<Bytes> sizes{5 * kChunkBytes + 3, 0, 1, kChunkBytes, 40, 2 * kChunkBytes - 1};
  std::vector<std::thread> threads;
  Bytes total = 0;
  for (std::uint32_t i = 0; i < sizes.size(); ++i) {
    for (const bool forth : {true, false}) {  // the same tag, both ways at once
      Link* from = forth ? here.link.get() : there.link.get();
      Link* to = forth ? there.link.get() : here.link.get();
      const std::uint64_t key = 2 * i + forth;
      threads.emplace_back(
          [=, bytes = sizes[i]] { EXPECT_EQ(send_all(*from, i, transfer_bytes(bytes, key)).error, ""); });
      threads.emplace_back([=, bytes = sizes[i]] {
        std::vector<std::byte> content(bytes);
        EXPECT_EQ(receive_all(*to, i, content).error, "");
        EXPECT_TRUE(content == transfer_bytes(bytes, key)) << "transfer " << i;
      });
    }
    total += sizes[i];
  }
  for (auto& thread : threads) thread.join();
  const auto mine = first->traffic()[2], theirs = second->traffic()[1];
  EXPECT_EQ(mine.bulk_sent, theirs.bulk_received);
  EXPECT_EQ(mine.bulk_received, theirs.bulk_sent);
  EXPECT_GE(mine.bulk_sent, total);
  EXPECT_LE(mine.bulk_sent, total + total / 100);
}

TEST_P(TransportConformance, ChunksComeInOrderAndAreLetGo) {
  join_pair();
  auto [here, there] = open(1);
  const auto content = transfer_bytes(3 * kChunkBytes + 5, 9);
  std::vector<Bytes> taken, sent, arrived;
  std::thread sender([&] {
    EXPECT_EQ(here.link
                  ->send({7, content.size()}, {[&](Bytes offset, Bytes bytes) {
                                                 taken.push_back(offset);
                                                 return std::span(content).subspan(offset, bytes);
                                               },
                                               [&](Bytes offset, Bytes) { sent.push_back(offset); }})
                  .error,
              "");
  });
  std::vector<std::byte> copy(content.size());
  EXPECT_EQ(there.link
                ->receive({7, content.size()},
                          {[&](Bytes offset, Bytes bytes) { return std::span(copy).subspan(offset, bytes); },
                           [&](Bytes offset, std::span<const std::byte> bytes) {
                             arrived.push_back(offset);
                             return std::memcmp(bytes.data(), content.data() + offset, bytes.size()) == 0;
                           }})
                .error,
            "");
  sender.join();
  const std::vector<Bytes> offsets{0, kChunkBytes, 2 * kChunkBytes, 3 * kChunkBytes};
  EXPECT_EQ(taken, offsets);
  EXPECT_EQ(sent, offsets);
  EXPECT_EQ(arrived, offsets);
}

TEST_P(TransportConformance, ALinkToNobodyIsAnErrorInTime) {
  join_pair();
  const double start_s = monotonic_seconds();
  const auto opened = first->open_link({second->id(), 5, 0.5, 0.5});
  EXPECT_EQ(opened.link, nullptr);
  EXPECT_NE(opened.error, "");
  EXPECT_LT(monotonic_seconds() - start_s, 3);
}

TEST_P(TransportConformance, ATransferThatNobodyTakesIsAnErrorInTime) {
  join_pair();
  auto [here, there] = open(1, 0.3);
  const double start_s = monotonic_seconds();
  EXPECT_FALSE(send_all(*here.link, 1, transfer_bytes(64 * MiB, 1)).ok());
  EXPECT_LT(monotonic_seconds() - start_s, 3);
  EXPECT_TRUE(here.link->broken());
  std::vector<std::byte> content(64 * MiB);
  EXPECT_FALSE(receive_all(*there.link, 1, content).ok());
}

TEST_P(TransportConformance, GivingUpInTheMiddleEndsBothEndsAndTheNextLinkWorks) {
  join_pair();
  for (const bool sender_gives_up : {true, false}) {
    auto [here, there] = open(sender_gives_up ? 1 : 2, 2);
    const auto content = transfer_bytes(16 * kChunkBytes, 3);
    TransferResult sent;
    std::thread sender([&, link = here.link.get()] {
      sent = link->send({1, content.size()}, {[&](Bytes offset, Bytes bytes) {
                                                const bool stop = sender_gives_up && offset >= 8 * kChunkBytes;
                                                return std::span(content).subspan(offset, stop ? 0 : bytes);
                                              },
                                              nullptr});
    });
    std::vector<std::byte> copy(content.size());
    const auto received = there.link->receive(
        {1, copy.size()},
        {[&](Bytes offset, Bytes bytes) { return std::span(copy).subspan(offset, bytes); },
         [&](Bytes offset, std::span<const std::byte>) { return sender_gives_up || offset < 8 * kChunkBytes; }});
    sender.join();
    EXPECT_FALSE(sent.ok());
    EXPECT_FALSE(received.ok());
    EXPECT_FALSE(send_all(*here.link, 2, content).ok());
  }
  auto [here, there] = open(3);
  const auto content = transfer_bytes(kChunkBytes + 1, 4);
  std::thread sender([&, link = here.link.get()] { EXPECT_EQ(send_all(*link, 1, content).error, ""); });
  std::vector<std::byte> copy(content.size());
  EXPECT_EQ(receive_all(*there.link, 1, copy).error, "");
  sender.join();
  EXPECT_TRUE(copy == content);
}

TEST_P(TransportConformance, EndsThatMeanOtherSizesAreToldSo) {
  join_pair();
  auto [here, there] = open(1);
  TransferResult sent;
  std::thread sender([&, link = here.link.get()] { sent = send_all(*link, 1, transfer_bytes(1000, 1)); });
  std::vector<std::byte> copy(999);
  const auto received = receive_all(*there.link, 1, copy);
  sender.join();
  EXPECT_FALSE(sent.ok());
  EXPECT_NE(received.error.find("1000"), std::string::npos) << received.error;
}

TEST_P(TransportConformance, CancellingEndsWhoeverWaits) {
  join_pair();
  auto [here, there] = open(1, 60);
  std::thread canceller([link = there.link.get()] {
    sleep_seconds(0.1);
    link->cancel("the worker is dead");
  });
  std::vector<std::byte> copy(1000);
  const double start_s = monotonic_seconds();
  const auto received = receive_all(*there.link, 1, copy);
  canceller.join();
  EXPECT_NE(received.error.find("the worker is dead"), std::string::npos) << received.error;
  EXPECT_FALSE(send_all(*here.link, 1, copy).ok());
  EXPECT_LT(monotonic_seconds() - start_s, 5);
}

TEST_P(TransportConformance, AGroupHasTheSumsOfAllItsMembers) {
  join_pair();
  const auto third = join(0);
  const std::vector<WorkerEnd*> all{third.get(), first.get(), second.get()};
  std::vector<std::vector<float>> floats(3, std::vector<float>(3 * MiB + 5));
  std::vector<std::vector<double>> doubles(3, std::vector<double>(7));
  std::vector<std::thread> threads;
  for (std::size_t m = 0; m < 3; ++m)
    threads.emplace_back([&, m] {
      for (std::size_t i = 0; i < floats[m].size(); ++i) floats[m][i] = static_cast<float>((i + 1) % 1000 * (m + 1));
      for (std::size_t i = 0; i < doubles[m].size(); ++i) doubles[m][i] = i % 3 == m ? 0.1 * static_cast<double>(i) : 0;
      const auto opened = all[m]->open_group({{third->id(), first->id(), second->id()}, 1, kSoon, kSoon});
      ASSERT_EQ(opened.error, "");
      EXPECT_EQ(opened.group->all_reduce(floats[m]).error, "");
      EXPECT_EQ(opened.group->all_reduce(doubles[m]).error, "");
    });
  for (auto& thread : threads) thread.join();
  for (std::size_t m = 0; m < 3; ++m) {
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < floats[m].size(); ++i) wrong += floats[m][i] != static_cast<float>((i + 1) % 1000 * 6);
    EXPECT_EQ(wrong, 0u) << m;
    for (std::size_t i = 0; i < doubles[m].size(); ++i) EXPECT_EQ(doubles[m][i], 0.1 * static_cast<double>(i)) << m;
  }
}

TEST_P(TransportConformance, AGroupWhoseMemberDoesNotComeIsAnErrorInTime) {
  join_pair();
  const double start_s = monotonic_seconds();
  const auto alone = first->open_group({{first->id(), second->id()}, 1, 0.3, 0.3});
  EXPECT_EQ(alone.group, nullptr);
  EXPECT_NE(alone.error, "");
  OpenedGroup other;
  std::thread opener([&] { other = second->open_group({{first->id(), second->id()}, 2, kSoon, 0.3}); });
  const auto group = first->open_group({{first->id(), second->id()}, 2, kSoon, 0.3});
  opener.join();
  ASSERT_TRUE(group.group && other.group);
  std::vector<float> values(10);
  EXPECT_FALSE(group.group->all_reduce(values).ok()) << "the other is not there";
  EXPECT_TRUE(group.group->broken());
  EXPECT_FALSE(group.group->all_reduce(values).ok()) << "for good";
  EXPECT_LT(monotonic_seconds() - start_s, 6);
}

TEST_P(TransportConformance, CancellingAGroupEndsWhoeverWaits) {
  join_pair();
  OpenedGroup other;
  std::thread opener([&] { other = second->open_group({{first->id(), second->id()}, 1, kSoon, 20}); });
  const auto group = first->open_group({{first->id(), second->id()}, 1, kSoon, 20});
  opener.join();
  ASSERT_TRUE(group.group && other.group);
  const double start_s = monotonic_seconds();
  std::thread canceller([&] {
    sleep_seconds(0.1);
    group.group->cancel("the visit was abandoned");
  });
  std::vector<float> values(10);
  EXPECT_NE(group.group->all_reduce(values).error.find("the visit was abandoned"), std::string::npos);
  canceller.join();
  EXPECT_LT(monotonic_seconds() - start_s, 5);
}

}  // namespace hopyard
