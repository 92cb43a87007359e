// NCCL itself, as far as one card goes: communicators of one member, members that do not come, and two workers of one
// card, who stay with the links beneath.
#include <cstring>
#include <thread>

#include "base/clock.h"
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

}  // namespace
}  // namespace hopyard
