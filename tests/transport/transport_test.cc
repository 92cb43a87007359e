// The conformance suite on the real transport and on the fake, and what only the fake can be ordered to do.
#include "conformance/transport_conformance.h"
#include "fakes/memory_transport.h"
#include "transport/child_process.h"
#include "transport/test_membership.h"

namespace hopyard {
namespace {

class StoreHarness : public TransportHarness {
 public:
  CoordinatorEnd& coordinator() override { return *coordinator_; }
  void end_coordinator() override { coordinator_.reset(); }
  std::unique_ptr<WorkerEnd> join(std::uint32_t rank) override {
    auto joined = join_experiment(test_launch(rank, port()), test_options(), 20);
    EXPECT_EQ(joined.error, "");
    return std::move(joined.worker);
  }
  std::function<void()> join_elsewhere(std::uint32_t rank) override {
    const auto child = std::make_shared<ChildProcess>(std::vector{std::to_string(port()), std::to_string(rank)});
    return [child] { child->kill(); };
  }

 private:
  std::uint16_t port() const { return coordinator_->endpoint().port; }
  std::unique_ptr<CoordinatorEnd> coordinator_ = open_coordinator(test_launch(0, 0), test_options());
};

class MemoryHarness : public TransportHarness {
 public:
  CoordinatorEnd& coordinator() override { return *coordinator_; }
  void end_coordinator() override { coordinator_.reset(); }
  std::unique_ptr<WorkerEnd> join(std::uint32_t rank) override { return network_->join(rank); }
  std::function<void()> join_elsewhere(std::uint32_t rank) override {
    const std::shared_ptr<WorkerEnd> worker = network_->join(rank);
    return [network = network_, worker] { network->kill(worker->id()); };
  }

 private:
  std::shared_ptr<fakes::MemoryNetwork> network_ = std::make_shared<fakes::MemoryNetwork>();
  std::unique_ptr<CoordinatorEnd> coordinator_ = network_->open_coordinator();
};

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
