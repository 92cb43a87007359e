// What every Device does. Instantiate DeviceConformance with a case for each kind. Memory on the device is looked at
// only by way of its link, so that it may be anywhere.
#pragma once

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "device/device.h"

namespace hopyard {

struct DeviceCase {
  std::string name;  ///< as the device says it
  Bytes memory = 0;  ///< its account's limit
  bool own_memory = false;
  std::function<std::unique_ptr<Device>()> make;  ///< with one compute thread
};

class DeviceConformance : public ::testing::TestWithParam<DeviceCase> {
 protected:
  static constexpr std::int64_t kValues = 1000;

  void SetUp() override { device = GetParam().make(); }
  /// As the executor does it.
  void on_compute_thread(const std::function<void()>& compute) {
    std::thread([&] {
      device->enter_compute();
      compute();
      device->finish_compute();
    }).join();
  }
  void load(void* to, const void* from, Bytes bytes) {
    std::promise<void> loaded;
    device->load({{to, from, bytes}}, "load", [&] { loaded.set_value(); });
    loaded.get_future().wait();
  }
  std::vector<float> stored(const at::Tensor& tensor) {
    std::vector<float> back(static_cast<std::size_t>(tensor.numel()));
    if (!device->has_own_memory()) {
      std::memcpy(back.data(), tensor.const_data_ptr(), tensor.nbytes());
      return back;
    }
    std::promise<void> done;
    device->store({{back.data(), tensor.data_ptr(), tensor.nbytes()}}, "store", [&] { done.set_value(); });
    done.get_future().wait();
    return back;
  }
  static std::vector<float> counted(float from) {
    std::vector<float> values(kValues);
    std::iota(values.begin(), values.end(), from);
    return values;
  }
  static at::Tensor tensor_of(const std::vector<float>& values) {
    at::Tensor tensor = at::empty({kValues}, at::kFloat);
    std::memcpy(tensor.data_ptr(), values.data(), tensor.nbytes());
    return tensor;
  }

  std::unique_ptr<Device> device;
};

TEST_P(DeviceConformance, SaysWhatItIs) {
  EXPECT_EQ(device->has_own_memory(), GetParam().own_memory);
  EXPECT_EQ(device->name(), GetParam().name);
  EXPECT_EQ(device->account().limit(), GetParam().memory);
  EXPECT_EQ(device->spec().threads, 1);
}

TEST_P(DeviceConformance, FixesTheNumberOfThreads) {
  on_compute_thread([] { EXPECT_EQ(at::get_num_threads(), 1); });
}

TEST_P(DeviceConformance, CountsWhatItAllocatesAndRefusesMoreThanItHas) {
  const Bytes before = device->account().used();
  {
    const at::Tensor tensor = device->allocate({10, kValues}, at::kFloat);
    EXPECT_EQ(tensor.sizes(), (std::vector<std::int64_t>{10, kValues}));
    EXPECT_EQ(tensor.device().type(), device->place().type());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data_ptr()) % kTensorAlignment, 0u);
    EXPECT_GE(device->account().used(), before + tensor.nbytes());
  }
  EXPECT_EQ(device->account().used(), before);
  EXPECT_GE(device->account().peak(), before + 10 * kValues * sizeof(float));
  device->reset_peak();
  EXPECT_EQ(device->account().peak(), before);
  const Bytes too_much = GetParam().memory + 4;
  try {
    device->allocate({static_cast<std::int64_t>(too_much / 4)}, at::kFloat);
    FAIL() << "it allocated more than it has";
  } catch (const DeviceOutOfMemory& full) {
    EXPECT_GE(full.needed, too_much);
    EXPECT_LE(full.available, GetParam().memory);
  }
}

TEST_P(DeviceConformance, ComputesOnWhatItIsBrought) {
  at::Tensor sum;
  on_compute_thread([&] {
    at::Tensor host = tensor_of(counted(1));
    const at::Tensor brought = device->bring(host);
    EXPECT_EQ(brought.device().type(), device->place().type());
    sum = at::add(brought, 1);
    EXPECT_FALSE(device->bring(at::Tensor()).defined());
  });
  EXPECT_EQ(stored(sum), counted(2));
}

TEST_P(DeviceConformance, DrawsTheSameFromTheSameKey) {
  std::vector<at::Tensor> drawn;
  on_compute_thread([&] {
    for (const std::uint64_t seed : {5, 6, 5}) {
      device->generator().set_current_seed(seed);
      drawn.push_back(at::rand({kValues}, device->generator(), at::TensorOptions(device->place())));
    }
  });
  EXPECT_EQ(stored(drawn[0]), stored(drawn[2]));
  EXPECT_NE(stored(drawn[0]), stored(drawn[1]));
}

TEST_P(DeviceConformance, WithoutMemoryOfItsOwnThereIsNoLink) {
  if (device->has_own_memory()) GTEST_SKIP() << "it has memory of its own";
  EXPECT_THROW(device->load({}, "", [] {}), std::logic_error);
  EXPECT_THROW(device->store({}, "", [] {}), std::logic_error);
}

TEST_P(DeviceConformance, MovesBytesInOrderAndCountsThem) {
  if (!device->has_own_memory()) GTEST_SKIP() << "it has no link";
  const std::vector<float> host = counted(7);
  const at::Tensor there = device->allocate({kValues}, at::kFloat);
  auto* const to = static_cast<std::byte*>(there.data_ptr());
  const auto* const from = reinterpret_cast<const std::byte*>(host.data());
  std::promise<void> loaded;
  std::vector<int> order;
  device->load({{to, from, 1000}, {to + 1000, from + 1000, 3000}}, "one", [&] { order.push_back(1); });
  device->load({}, "two", [&] {
    order.push_back(2);
    loaded.set_value();
  });
  loaded.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_EQ(stored(there), host);
  EXPECT_EQ(device->counters().loaded, 4000u);
  EXPECT_EQ(device->counters().stored, 4000u);
  EXPECT_GT(device->counters().load_busy_s, 0);
  EXPECT_GT(device->counters().store_busy_s, 0);
}

TEST_P(DeviceConformance, LoadsWhatIsComputedOnAndStoresWhatWasComputed) {
  if (!device->has_own_memory()) GTEST_SKIP() << "it has no link";
  const at::Tensor there = device->allocate({kValues}, at::kFloat);
  load(there.data_ptr(), counted(1).data(), there.nbytes());
  at::Tensor out;
  on_compute_thread([&] { out = at::mul(there, 2); });
  std::vector<float> doubled = counted(1);
  for (float& value : doubled) value *= 2;
  EXPECT_EQ(stored(out), doubled);
}

TEST_P(DeviceConformance, WhoIsToldMayAskForMoreAndSeveralMayAskAtOnce) {
  if (!device->has_own_memory()) GTEST_SKIP() << "it has no link";
  constexpr int kThreads = 4, kEach = 100;
  const std::vector<float> host = counted(3);
  const at::Tensor there = device->allocate({kThreads, kValues}, at::kFloat);
  std::vector<std::vector<float>> back(kThreads, std::vector<float>(kValues));
  std::vector<std::vector<int>> orders(kThreads);
  std::vector<std::promise<void>> stored_back(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        float* const row = static_cast<float*>(there.data_ptr()) + t * kValues;
        for (int i = 0; i < kEach; ++i) {
          device->load({{row, host.data(), 4 * kValues}}, "", [&, t, i, row] {
            orders[t].push_back(i);
            if (i + 1 == kEach)
              device->store({{back[t].data(), row, 4 * kValues}}, "", [&, t] { stored_back[t].set_value(); });
          });
        }
      });
  }
  std::vector<int> in_order(kEach);
  std::iota(in_order.begin(), in_order.end(), 0);
  for (int t = 0; t < kThreads; ++t) {
    stored_back[t].get_future().wait();
    EXPECT_EQ(orders[t], in_order);
    EXPECT_EQ(back[t], host);
  }
}

TEST_P(DeviceConformance, FinishesWhatIsQueuedBeforeItGoes) {
  if (!device->has_own_memory()) GTEST_SKIP() << "it has no link";
  std::vector<float> back(kValues);
  int told = 0;
  at::Tensor there = device->allocate({kValues}, at::kFloat);
  load(there.data_ptr(), counted(5).data(), there.nbytes());
  for (int i = 0; i < 100; ++i)
    device->store({{back.data(), there.data_ptr(), there.nbytes()}}, "", [&told] { ++told; });
  device.reset();
  EXPECT_EQ(told, 100);
  EXPECT_EQ(back, counted(5));
}

TEST_P(DeviceConformance, WhatItRecordsIsComputedWhenItIsAskedForOverWhatIsThereThen) {
  const at::Tensor y = device->allocate({kValues}, at::kFloat);
  at::Tensor left;
  std::unique_ptr<RecordedWork> record;
  std::vector<std::vector<float>> seen, made;
  const auto look = [&] {
    device->finish_compute();
    seen.push_back(stored(y));
    if (left.defined()) made.push_back(stored(left));
  };
  on_compute_thread([&] {
    const at::Tensor x = device->bring(tensor_of(counted(1)));
    at::Tensor(y).zero_();
    bool was_called = false;
    const bool can = device->can_record();
    record = device->record([&] {
      was_called = true;
      left = x * 2;
      at::Tensor(y).add_(left);
    });
    EXPECT_EQ(was_called, can);
    EXPECT_EQ(record != nullptr, can);
    if (record == nullptr) return;
    device->finish_compute();
    seen.push_back(stored(y));
    for (const float from : {1.0f, 5.0f}) {
      at::Tensor(x).copy_(device->bring(tensor_of(counted(from))));
      record->ask();
      look();
    }
    record.reset();
    at::Tensor(y).add_(1);
    look();
  });
  if (seen.empty()) return;
  const auto twice = [](float from) { return 2 * tensor_of(counted(from)); };
  const auto is = [](const std::vector<float>& got, const at::Tensor& expected) {
    return tensor_of(got).equal(expected);
  };
  EXPECT_TRUE(is(seen[0], at::zeros({kValues}))) << "nothing is computed while it is recorded";
  EXPECT_TRUE(is(seen[1], twice(1)));
  EXPECT_TRUE(is(made[0], twice(1)));
  EXPECT_TRUE(is(seen[2], twice(1) + twice(5)));
  EXPECT_TRUE(is(made[1], twice(5)));
  EXPECT_TRUE(is(seen[3], twice(1) + twice(5) + 1)) << "as ever once the record has gone";
}

TEST_P(DeviceConformance, WhatCannotBeRecordedLeavesItAsItWas) {
  on_compute_thread([&] {
    const at::Tensor x = device->bring(tensor_of(counted(1)));
    device->finish_compute();
    const bool can = device->can_record();
    bool was_called = false;
    const auto record = device->record([&] {
      was_called = true;
      at::Tensor(x).mul_(x[3].item<float>());
    });
    EXPECT_EQ(was_called, can);
    EXPECT_EQ(record, nullptr) << "a value cannot be read of what is not computed";
    EXPECT_FALSE(device->can_record()) << "it is not tried again";
    at::Tensor(x).add_(1);
    device->finish_compute();
    EXPECT_TRUE(x.cpu().equal(tensor_of(counted(2))));
  });
}

inline std::string device_case_name(const ::testing::TestParamInfo<DeviceCase>& info) {
  return info.param.name.substr(0, info.param.name.find(':'));
}

}  // namespace hopyard
