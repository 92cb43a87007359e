// NCCL itself, as far as one card goes: communicators of one member, members that do not come, two workers of one card,
// who stay with the links beneath, and two that NCCL takes for workers of two machines.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/clock.h"
#include "cuda/nccl_end.h"
#include "cuda/nccl_passage.h"
#include "cuda/nccl_transport.h"
#include "cuda/real_calls.h"
#include "cuda/real_nccl.h"
#include "fakes/cards.h"
#include "transport/harnesses.h"

namespace hopyard {
namespace {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TransportConformance);

constexpr double kConnectSeconds = 60;

class RealNcclTest : public ::testing::Test {
 protected:
  void SetUp() override {
    HOPYARD_SKIP_WITHOUT_CARD();
    std::string why_not;
    nccl = make_real_nccl(0, why_not);
    ASSERT_EQ(why_not, "");
    calls = std::make_shared<RealCalls>(0, GiB);
    staging = std::make_unique<NcclStaging>(calls);
  }
  std::unique_ptr<NcclCommunicator> alone() {
    auto communicator = std::make_unique<NcclCommunicator>(nccl, nccl->make_id(), 1, 0);
    communicator->connect(kConnectSeconds);
    return communicator;
  }
  void await(std::size_t chunk) {
    const double until_s = monotonic_seconds() + 20;
    while (!staging->done(chunk) && monotonic_seconds() < until_s) sleep_seconds(1e-3);
    EXPECT_TRUE(staging->done(chunk)) << chunk;
  }

  std::shared_ptr<NcclCalls> nccl;
  std::shared_ptr<CudaCalls> calls;
  std::unique_ptr<NcclStaging> staging;
};

TEST(NcclLibraryTest, IsThereOrSaysWhyNot) {
  std::string why_not;
  const auto nccl = make_real_nccl(0, why_not);
  EXPECT_EQ(nccl == nullptr, !why_not.empty()) << why_not;
}

TEST_F(RealNcclTest, OneMembersSumIsWhatItHas) {
  const auto communicator = alone();
  for (const NcclValues type : {NcclValues::float32, NcclValues::float64}) {
    std::vector<double> doubles(kChunkBytes / sizeof(double), 0.1);
    std::vector<float> floats(kChunkBytes / sizeof(float), 0.1f);
    const bool single = type == NcclValues::float32;
    const void* const values = single ? static_cast<const void*>(floats.data()) : doubles.data();
    std::memcpy(staging->host(0), values, kChunkBytes);
    staging->to_card(0, kChunkBytes);
    communicator->ask(
        [&](NcclCalls& calls, CommHandle comm) {
          calls.all_reduce(comm, staging->card(0), single ? floats.size() : doubles.size(), type,
                           staging->nccl_stream());
        },
        kConnectSeconds);
    staging->to_host(0, kChunkBytes, false);
    await(0);
    EXPECT_EQ(std::memcmp(staging->host(0), values, kChunkBytes), 0);
    communicator->check();
  }
}

TEST_F(RealNcclTest, WhatAMemberSendsItselfArrives) {
  const auto communicator = alone();
  for (std::uint64_t round = 0; round < 3; ++round) {
    const auto content = transfer_bytes(kChunkBytes, round);
    std::memcpy(staging->host(0), content.data(), kChunkBytes);
    std::memset(staging->host(1), 0, kChunkBytes);
    staging->to_card(0, kChunkBytes);
    communicator->ask(
        [&](NcclCalls& calls, CommHandle comm) {
          calls.send(comm, staging->card(0), kChunkBytes, 0, staging->nccl_stream());
          calls.receive(comm, staging->card(1), kChunkBytes, 0, staging->nccl_stream());
        },
        kConnectSeconds);
    staging->ends_here(0);
    staging->to_host(1, kChunkBytes, true);
    await(0);
    await(1);
    EXPECT_EQ(std::memcmp(staging->host(1), content.data(), kChunkBytes), 0) << round;
  }
}

TEST_F(RealNcclTest, AMemberThatDoesNotComeIsGivenUpInTime) {
  const double start_s = monotonic_seconds();
  {
    NcclCommunicator communicator(nccl, nccl->make_id(), 2, 0);
    EXPECT_THROW(communicator.connect(1), NcclFailure);
  }
  EXPECT_LT(monotonic_seconds() - start_s, 20);
  alone()->check();
}

TEST_F(RealNcclTest, TwoWorkersOfOneCardGoBeneath) {
  MemoryHarness harness;
  const auto first = make_cuda_end(harness.join(1), 0, GiB), second = make_cuda_end(harness.join(2), 0, GiB);
  OpenedLink there;
  std::thread other([&] { there = second->open_link({first->id(), 1, 60, 60}); });
  const auto here = first->open_link({second->id(), 1, 60, 60});
  other.join();
  ASSERT_TRUE(here.link && there.link) << here.error << there.error;
  const auto content = transfer_bytes(2 * kChunkBytes, 1);
  std::thread sender([&] { EXPECT_EQ(send_all(*here.link, 1, content).error, ""); });
  std::vector<std::byte> copy(content.size());
  EXPECT_EQ(receive_all(*there.link, 1, copy).error, "");
  sender.join();
  EXPECT_TRUE(copy == content);
}

/// NCCL, and how often it was asked to move or add up.
class CountedNccl final : public NcclCalls {
 public:
  explicit CountedNccl(std::shared_ptr<NcclCalls> real) : real_(std::move(real)) {}
  NcclId make_id() override { return real_->make_id(); }
  CommHandle begin(const NcclId& id, int members, int member) override { return real_->begin(id, members, member); }
  bool settled(CommHandle comm) override { return real_->settled(comm); }
  void together(const std::function<void()>& ask) override { real_->together(ask); }
  void send(CommHandle comm, const void* values, Bytes bytes, int to, StreamHandle stream) override {
    ++moves;
    real_->send(comm, values, bytes, to, stream);
  }
  void receive(CommHandle comm, void* values, Bytes bytes, int from, StreamHandle stream) override {
    ++moves;
    real_->receive(comm, values, bytes, from, stream);
  }
  void all_reduce(CommHandle comm, void* values, std::size_t count, NcclValues type, StreamHandle stream) override {
    ++sums;
    real_->all_reduce(comm, values, count, type, stream);
  }
  void abort(CommHandle comm) noexcept override { real_->abort(comm); }

  std::atomic<int> moves = 0, sums = 0;

 private:
  const std::shared_ptr<NcclCalls> real_;
};

constexpr const char* kRankVariable = "HOPYARD_TEST_RANK";
constexpr const char* kPortVariable = "HOPYARD_TEST_PORT";

/// What each of two processes does; the test after this one starts them.
TEST_F(RealNcclTest, DISABLED_AsOneOfTwoMachines) {
  const char* const rank = std::getenv(kRankVariable);
  const char* const port = std::getenv(kPortVariable);
  ASSERT_TRUE(rank != nullptr && port != nullptr);
  auto joined = join_experiment(test_launch(std::atoi(rank), static_cast<std::uint16_t>(std::atoi(port))),
                                test_options(), kConnectSeconds);
  ASSERT_EQ(joined.error, "");
  const auto counted = std::make_shared<CountedNccl>(nccl);
  const auto end =
      make_nccl_end(std::move(joined.worker), {calls, counted, text::cat("the card of machine ", rank), ""},
                    [](const std::string& warning) { ADD_FAILURE() << warning; });
  const auto incarnation = end->receive(kConnectSeconds);  // the other's
  ASSERT_TRUE(incarnation);
  const WorkerId peer{end->id().rank == 1 ? 2u : 1u, std::stoull(*incarnation)};
  const bool first = end->id() < peer;

  const Bytes bytes = 64 * MiB + 3;
  const auto forth = transfer_bytes(bytes, 1), back = transfer_bytes(bytes, 2);
  {
    const auto opened = end->open_link({peer, 1, kConnectSeconds, kConnectSeconds});
    ASSERT_TRUE(opened.link) << opened.error;
    std::thread sender([&] { EXPECT_EQ(send_all(*opened.link, first ? 1 : 2, first ? forth : back).error, ""); });
    std::vector<std::byte> copy(bytes);
    EXPECT_EQ(receive_all(*opened.link, first ? 2 : 1, copy).error, "");
    sender.join();
    EXPECT_TRUE(copy == (first ? back : forth));
  }
  EXPECT_GE(counted->moves, static_cast<int>(2 * bytes / kChunkBytes)) << "by NCCL, both ways";

  const auto group =
      end->open_group({{std::min(end->id(), peer), std::max(end->id(), peer)}, 1, kConnectSeconds, kConnectSeconds});
  ASSERT_TRUE(group.group) << group.error;
  std::vector<float> values(kChunkBytes, first ? 0.25f : 1.5f);
  EXPECT_EQ(group.group->all_reduce(values).error, "");
  EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float value) { return value == 1.75f; }));
  EXPECT_GE(counted->sums, 1);
}

/// NCCL refuses two members on one card of one machine, which it knows by NCCL_HOSTID where that is set. Between two
/// machines it goes over sockets.
TEST_F(RealNcclTest, TwoProcessesThatAreTakenForTwoMachinesMoveBytesByNccl) {
  StoreHarness harness;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  std::vector<std::thread> machines;
  for (const int rank : {1, 2})
    machines.emplace_back([&, rank] {
      const std::string command =
          text::cat("NCCL_HOSTID=machine", rank, " NCCL_SOCKET_IFNAME=lo ", kRankVariable, "=", rank, " ",
                    kPortVariable, "=", harness.coordinator().endpoint().port, " '", self,
                    "' --gtest_also_run_disabled_tests --gtest_filter=RealNcclTest.DISABLED_AsOneOfTwoMachines");
      EXPECT_EQ(std::system(command.c_str()), 0) << "machine " << rank;
    });
  std::vector<WorkerId> there;
  for (const double until_s = monotonic_seconds() + 2 * kConnectSeconds; monotonic_seconds() < until_s;) {
    const auto event = harness.coordinator().next(0.1);
    if (!event) continue;
    if (event->kind == CoordinatorEvent::Kind::joined) there.push_back(event->worker);
    if (event->kind == CoordinatorEvent::Kind::left || event->kind == CoordinatorEvent::Kind::dead) break;
    if (there.size() < 2) continue;
    for (std::size_t i = 0; i < 2; ++i) harness.coordinator().send(there[i], std::to_string(there[1 - i].incarnation));
    break;
  }
  EXPECT_EQ(there.size(), 2u);
  for (auto& machine : machines) machine.join();
}

}  // namespace
}  // namespace hopyard
