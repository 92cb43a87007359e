// A card that is there: the conformance suite of Device, the budget, what is asked of libtorch, and that attention
// gives the same bits each time.
#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>

#include "base/clock.h"
#include "conformance/device_conformance.h"
#include "cuda/activity_recorder.h"
#include "cuda/card_watch.h"
#include "fakes/cards.h"
#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using ::testing::HasSubstr;

constexpr Bytes kBudget = GiB;

DeviceSpec card_spec(Bytes memory) { return {DeviceSpec::Type::cuda, 1, memory, 0, 0, 1}; }

std::vector<DeviceCase> cases() {
  if (!fakes::why_no_card().empty()) return {};
  return {{"cuda:0", kBudget, true, [] { return make_cuda_device(card_spec(kBudget), 0, nullptr); }}};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DeviceConformance);
INSTANTIATE_TEST_SUITE_P(Card, DeviceConformance, ::testing::ValuesIn(cases()), device_case_name);

class RealCardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    HOPYARD_SKIP_WITHOUT_CARD();
    device = make_cuda_device(card_spec(kBudget), 0, nullptr);
    device->enter_compute();
  }
  at::TensorOptions there(at::ScalarType type = at::kFloat) const {
    return at::TensorOptions(device->place()).dtype(type);
  }

  std::unique_ptr<Device> device;
};

TEST_F(RealCardTest, HoldsComputingToTheBudgetToo) {
  const auto values = static_cast<std::int64_t>(kBudget / 4);
  EXPECT_THROW(at::empty({values + 1}, there()), c10::OutOfMemoryError);
  at::Tensor most = at::empty({values * 3 / 4}, there());
  EXPECT_THROW(at::empty({values / 2}, there()), c10::OutOfMemoryError);
  EXPECT_GE(device->account().used(), most.nbytes());
  EXPECT_LE(device->account().used(), kBudget);
  most.reset();
  EXPECT_NO_THROW(at::empty({values * 3 / 4}, there())) << "what was let go can be had again";
}

TEST_F(RealCardTest, ManySizesDoNotFragmentTheBudget) {
  for (int round = 0; round < 200; ++round) {
    std::vector<at::Tensor> held;
    for (int i = 0; i < 6; ++i)
      held.push_back(device->allocate({static_cast<std::int64_t>((1 + (round * 7 + i * 5) % 120) * MiB)}, at::kByte));
  }
  EXPECT_NO_THROW(device->allocate({static_cast<std::int64_t>(kBudget / 2)}, at::kByte));
}

TEST_F(RealCardTest, LibtorchComputesFloat32AsSuchAndTheSameEachTime) {
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
  EXPECT_FALSE(at::globalContext().deterministicAlgorithmsWarnOnly());
  EXPECT_FALSE(at::globalContext().deterministicFillUninitializedMemory());
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
  const at::Tensor a = at::rand({256, 256}, there()), b = at::rand({256, 256}, there());
  const double error =
      (at::matmul(a, b).to(at::kDouble) - at::matmul(a.to(at::kDouble), b.to(at::kDouble))).abs().max().item<double>();
  EXPECT_LT(error, 1e-4) << "TF32 would be off by some 1e-2";
}

TEST_F(RealCardTest, AttentionsGradientsAreTheSameEachTime) {
  for (const auto type : {at::kBFloat16, at::kFloat}) {
    const auto leaf = [&] { return at::randn({4, 8, 256, 64}, there(type)).set_requires_grad(true); };
    const at::Tensor q = leaf(), k = leaf(), v = leaf();
    const at::Tensor up = at::randn({4, 8, 256, 64}, there(type));
    std::vector<at::Tensor> first;
    for (int i = 0; i < 10; ++i) {
      for (const at::Tensor* x : {&q, &k, &v}) x->mutable_grad().reset();
      at::scaled_dot_product_attention(q, k, v, {}, 0, /*is_causal=*/true).backward(up);
      if (i == 0) first = {q.grad().clone(), k.grad().clone(), v.grad().clone()};
      EXPECT_TRUE(at::equal(q.grad(), first[0]) && at::equal(k.grad(), first[1]) && at::equal(v.grad(), first[2]));
    }
  }
}

TEST_F(RealCardTest, ComputingAndCopyingGoOnTogether) {
  // Work of a second on the compute stream must not hold up copies of the door.
  const at::Tensor a = at::rand({2048, 2048}, there());
  at::Tensor out = a;
  for (int i = 0; i < 2000; ++i) out = at::matmul(a, out).mul_(1e-3);
  std::vector<float> host(1 << 20, 2.0f);
  const at::Tensor loaded = device->allocate({1 << 20}, at::kFloat);
  std::promise<void> done;
  device->load({{loaded.data_ptr(), host.data(), loaded.nbytes()}}, "load", [&] { done.set_value(); });
  done.get_future().wait();
  EXPECT_EQ(device->counters().loaded, loaded.nbytes());
  device->finish_compute();
}

TEST_F(RealCardTest, ItsOwnRecordShowsKernelsAndCopiesOnOurClock) {
  const auto product = [&] { return at::matmul(at::ones({1024, 1024}, there()), at::ones({1024, 1024}, there())); };
  std::vector<float> host(1 << 22, 2.0f);
  const at::Tensor loaded = device->allocate({1 << 22}, at::kFloat);
  const auto work = [&] {
    at::Tensor out = product();
    std::promise<void> done;
    device->load({{loaded.data_ptr(), host.data(), loaded.nbytes()}}, "load", [&] { done.set_value(); });
    done.get_future().wait();
    device->finish_compute();
  };
  work();  // kernels are loaded when they are first asked for
  std::string why_not;
  const auto recorder = record_activity(why_not);
  ASSERT_NE(recorder, nullptr) << why_not;
  const double begin_s = monotonic_seconds();
  work();
  const double end_s = monotonic_seconds();
  const ActivityLog log = recorder->stop();
  const CardActivity activity = card_activity(log.records, 0, begin_s - 1e-4, end_s + 1e-4);
  EXPECT_EQ(activity.to_card, loaded.nbytes());
  EXPECT_GT(activity.to_card_s, 0);
  EXPECT_GT(activity.kernel_s, 0);
  EXPECT_EQ(log.dropped, 0u);
  EXPECT_EQ(card_activity(log.records, 0, log.begin_s - 1, begin_s - 1e-4).to_card, 0u) << "clocks agree";
  EXPECT_EQ(card_activity(log.records, 0, end_s + 1e-4, log.end_s + 1).to_card, 0u) << "clocks agree";
  EXPECT_FALSE(longest_kernels(log, 0, 5).empty());
}

TEST(CardWatchOfACardTest, TellsOfTheCardThatWeDrive) {
  HOPYARD_SKIP_WITHOUT_CARD();
  std::string why_not;
  const auto watch = CardWatch::open(why_not);
  ASSERT_NE(watch, nullptr) << why_not;
  const CudaCard card = cuda_cards().cards.front();
  const CardState state = watch->state(card.bus_id);
  EXPECT_GT(state.memory.value_or(0), GiB) << card.bus_id;
  EXPECT_NE(watch->driver(), "");
}

TEST(CardBudgetTest, MoreThanIsFreeIsRefusedWithBothNumbers) {
  HOPYARD_SKIP_WITHOUT_CARD();
  const CudaCard card = cuda_cards().cards.front();
  const std::string said =
      fakes::failure_of(ExitCode::capacity, [&] { resolve_cuda_device(card_spec(card.memory + 1), 0); });
  EXPECT_THAT(said, HasSubstr("cuda:0"));
  EXPECT_THAT(said, HasSubstr(std::to_string(card.memory + 1)));
  EXPECT_THAT(said, HasSubstr("free"));
}

TEST(CardBudgetTest, WhatIsNotNamedIsFilledIn) {
  HOPYARD_SKIP_WITHOUT_CARD();
  const DeviceSpec resolved = resolve_cuda_device(card_spec(0), 0);
  EXPECT_GT(resolved.memory, GiB);
  EXPECT_LT(resolved.memory, cuda_cards().cards.front().memory);
  EXPECT_GT(resolved.link_bytes_per_s, 1e9);
  EXPECT_EQ(resolve_cuda_device(card_spec(kBudget), 0).memory, kBudget);
}

TEST(CardLinkTest, IsMeasuredBothWays) {
  HOPYARD_SKIP_WITHOUT_CARD();
  const LinkSpeed speed = measure_cuda_link(0);
  for (const double rate : {speed.to_card, speed.to_host, speed.to_card_duplex, speed.to_host_duplex})
    EXPECT_GT(rate, 1e8);
}

}  // namespace
}  // namespace hopyard
