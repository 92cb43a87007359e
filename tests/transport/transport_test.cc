// The conformance suite on the real transport and on the fake, and what only the fake can be ordered to do.
#include "transport/harnesses.h"

namespace hopyard {
namespace {

INSTANTIATE_TEST_SUITE_P(Transports, TransportConformance,
                         testing::Values(TransportCase{"store", [] { return std::make_unique<StoreHarness>(); }},
                                         TransportCase{"memory", [] { return std::make_unique<MemoryHarness>(); }}),
                         [](const auto& info) { return info.param.name; });

using Kind = CoordinatorEvent::Kind;

TEST(MemoryTransport, AStoppedWorkersMessagesComeWhenItGoesOn) {
  fakes::MemoryNetwork network;
  const auto coordinator = network.open_coordinator();
  const auto worker = network.join(1);
  network.stop(worker->id());
  worker->send("late");
  network.go_on(worker->id());
  std::vector<Kind> kinds;
  while (const auto event = coordinator->next(0)) kinds.push_back(event->kind);
  EXPECT_EQ(kinds, (std::vector<Kind>{Kind::joined, Kind::silent, Kind::awake, Kind::message}));
}

TEST(MemoryTransport, ALostMessageCostsTheWorkerItsIncarnation) {
  fakes::MemoryNetwork network;
  const auto coordinator = network.open_coordinator();
  const auto worker = network.join(1);
  network.lose_message(worker->id());
  worker->send("lost");
  worker->send("next");
  EXPECT_EQ(coordinator->next(0)->kind, Kind::joined);
  EXPECT_EQ(coordinator->next(0)->kind, Kind::dead);
  EXPECT_EQ(worker->standing().kind, WorkerStanding::Kind::expelled);
}

TEST(MemoryTransport, ALinkIsTornWhereItWasOrdered) {
  fakes::MemoryNetwork network;
  const auto coordinator = network.open_coordinator();
  const auto first = network.join(1), second = network.join(2);
  network.tear_links_after(2 * kChunkBytes);
  OpenedLink there;
  std::thread other([&] { there = second->open_link({first->id(), 1}); });
  const auto here = first->open_link({second->id(), 1});
  other.join();
  TransferResult sent;
  std::thread sender([&] { sent = send_all(*here.link, 1, transfer_bytes(4 * kChunkBytes, 1)); });
  std::vector<std::byte> copy(4 * kChunkBytes);
  EXPECT_FALSE(receive_all(*there.link, 1, copy).ok());
  sender.join();
  EXPECT_FALSE(sent.ok());
  EXPECT_EQ(second->traffic()[1].bulk_received, 2 * kChunkBytes);
}

}  // namespace
}  // namespace hopyard
