// The real transport and the fake one, for the conformance suite.
#pragma once

#include "conformance/transport_conformance.h"
#include "fakes/memory_transport.h"
#include "transport/child_process.h"
#include "transport/test_membership.h"

namespace hopyard {

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

}  // namespace hopyard
