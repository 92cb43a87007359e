// The conformance suite of Device for `cpu` and `emulated`, the counting allocator, and the pace of the emulated link.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "base/clock.h"
#include "conformance/device_conformance.h"
#include "device/device.h"

namespace hopyard {
namespace {

DeviceSpec emulated_spec() { return {DeviceSpec::Type::emulated, 1, 1 * MiB, 0, 1e9, 1e-3, 1}; }

TEST(MemoryAccountTest, RefusesOneByteTooMany) {
  MemoryAccount account("test", 1000);
  EXPECT_TRUE(account.charge(1000));
  EXPECT_FALSE(account.charge(1));
  account.credit(1);
  EXPECT_TRUE(account.charge(1));
  EXPECT_EQ(account.peak(), 1000u);
}

TEST(CountingAllocatorTest, CountsEveryTensorOfTheThreadAndItsViewsOnce) {
  install_counting_allocator();
  MemoryAccount account("test", MiB);
  {
    const AccountScope charged(&account);
    const at::Tensor tensor = at::empty({1000}, at::kFloat);
    EXPECT_EQ(account.used(), charged_bytes(4000));
    const at::Tensor view = tensor.view({10, 100});
    EXPECT_EQ(account.used(), charged_bytes(4000));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data_ptr()) % kTensorAlignment, 0u);
  }
  EXPECT_EQ(account.used(), 0u);
}

TEST(CountingAllocatorTest, ThrowsInTheMiddleOfAPassAndTheCountsStayRight) {
  install_counting_allocator();
  MemoryAccount account("test", 64 * KiB);
  {
    const AccountScope charged(&account);
    const at::Tensor x = at::ones({64, 64}, at::kFloat);
    EXPECT_THROW(x.repeat({10, 10}), DeviceOutOfMemory);
    EXPECT_EQ(account.used(), charged_bytes(64 * 64 * 4));
  }
  EXPECT_EQ(account.used(), 0u);
  EXPECT_LE(account.peak(), account.limit());
}

TEST(CountingAllocatorTest, LargeTensorsAreAlignedAndTheirMemoryIsUsedAgain) {
  install_counting_allocator();
  MemoryAccount account("test", 256 * MiB);
  const AccountScope charged(&account);
  constexpr std::int64_t kValues = 10 * MiB;
  const void* first = nullptr;
  {
    const at::Tensor tensor = at::empty({kValues}, at::kFloat);
    first = tensor.data_ptr();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % kTensorAlignment, 0u);
    EXPECT_EQ(account.used(), charged_bytes(4 * kValues));
  }
  EXPECT_EQ(account.used(), 0u);
  EXPECT_EQ(at::empty({kValues - 1000}, at::kFloat).data_ptr(), first);
}

TEST(CountingAllocatorTest, WhatIsKeptAndWhatIsInUseAreWithinTheLimit) {
  install_counting_allocator();
  MemoryAccount account("test", 100 * MiB);
  const AccountScope charged(&account);
  const auto make = [](Bytes mebibytes) { return at::empty({static_cast<std::int64_t>(mebibytes * MiB)}, at::kByte); };
  make(80);
  EXPECT_GE(account.kept().bytes(), 80 * MiB);
  {
    const at::Tensor small = make(30);  // from the heap: the kept block is in its way
    EXPECT_EQ(account.kept().bytes(), 0u);
    make(40);
    EXPECT_GE(account.kept().bytes(), 40 * MiB);
    const at::Tensor fits = make(35);  // in the block of 40, whose end goes
    EXPECT_EQ(account.kept().bytes(), 0u);
    fits.fill_(1);
  }
  const Bytes kept = account.kept().bytes();
  EXPECT_GE(kept, 35 * MiB);
  EXPECT_LT(kept, 36 * MiB);
}

TEST(CountingAllocatorTest, ADeviceKeepsWhatLargeTensorsLeaveOfTheLimit) {
  install_counting_allocator();
  MemoryAccount account("test", 120 * MiB, Keeping::as_a_device_has);
  const AccountScope charged(&account);
  const auto make = [](Bytes mebibytes) { return at::empty({static_cast<std::int64_t>(mebibytes * MiB)}, at::kByte); };
  make(70);
  const at::Tensor small = make(30), another = make(30);
  EXPECT_GE(account.kept().bytes(), 70 * MiB);  // beside 60 MiB from the heap
  make(40);                                     // not in the block of 70
  EXPECT_GE(account.kept().bytes(), 110 * MiB);
  EXPECT_THROW(make(70), DeviceOutOfMemory);  // what is kept does not change what may be used
  {
    const at::Tensor large = make(55);  // in neither block
    EXPECT_LT(account.kept().bytes(), 65 * MiB);
  }
  EXPECT_LT(account.kept().bytes(), 120 * MiB);
}

TEST(CountingAllocatorTest, NothingIsKeptOfWhatNobodyIsChargedFor) {
  install_counting_allocator();
  MemoryAccount account("test", 100 * MiB);
  at::empty({static_cast<std::int64_t>(64 * MiB)}, at::kByte).fill_(1);
  EXPECT_EQ(account.kept().bytes(), 0u);
}

TEST(CountingAllocatorTest, ATensorFreedByAnotherThreadCreditsItsOwnAccount) {
  install_counting_allocator();
  MemoryAccount account("test", MiB);
  at::Tensor tensor;
  {
    const AccountScope charged(&account);
    tensor = at::empty({100}, at::kFloat);
  }
  std::thread([&] { tensor = at::Tensor(); }).join();
  EXPECT_EQ(account.used(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    All, DeviceConformance,
    ::testing::Values(DeviceCase{"cpu:3", MiB, false,
                                 [] {
                                   return make_cpu_device({DeviceSpec::Type::cpu, 1, 0, 0, 0, 1}, 3, MiB);
                                 }},
                      DeviceCase{"emulated:3", MiB, true,
                                 [] { return make_emulated_device(emulated_spec(), 3, nullptr); }}),
    device_case_name);

TEST(DeviceSpecTest, EntriesAreSoManyDevices) {
  DeviceSpec two, one;
  two.type = one.type = DeviceSpec::Type::cuda;
  two.count = 2;
  two.first_card = 4;
  one.first_card = 6;
  const std::vector<DeviceSpec> specs{two, one};
  EXPECT_EQ(device_count(specs), 3u);
  const auto all = each_device(specs);
  ASSERT_EQ(all.size(), 3u);
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(all[i].spec, &specs[i / 2]);
    EXPECT_EQ(all[i].index, i);
    EXPECT_EQ(all[i].card, 4 + i);
  }
}

TEST(EmulatedLinkTest, TakesAtLeastLatencyAndBytesOverRate) {
  const auto device = make_emulated_device(emulated_spec(), 0, nullptr);
  std::vector<std::byte> from(10 * MiB), to(10 * MiB);
  std::promise<void> done;
  const double begin = monotonic_seconds();
  for (int i = 0; i < 4; ++i) device->load({{to.data(), from.data(), from.size()}}, "", [] {});
  device->load({}, "", [&] { done.set_value(); });
  done.get_future().wait();
  const double least = 4 * (static_cast<double>(from.size()) / 1e9 + 1e-3) + 1e-3;
  EXPECT_GE(monotonic_seconds() - begin, least * 0.999);
  EXPECT_GE(device->counters().load_busy_s, least * 0.999);
}

}  // namespace
}  // namespace hopyard
