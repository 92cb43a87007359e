// The conformance suite of Device for `cuda`, over a card that is none; that none of its waits can be forgotten; and
// that a card that is lost makes nobody wait.
#include "cuda/cuda_device.h"

#include <c10/util/Exception.h>

#include "base/rng.h"
#include "conformance/device_conformance.h"
#include "fakes/drawn_runs.h"
#include "fakes/fake_cuda.h"
#include "fakes/forgetful_calls.h"

namespace hopyard {
namespace {

using fakes::FakeCuda;
using fakes::FakeCudaSpec;
using fakes::ForgetfulCalls;
using fakes::OrderingSite;

DeviceSpec card_spec(Bytes memory) { return {DeviceSpec::Type::cuda, 1, memory, 0, 0, 1}; }

std::unique_ptr<CudaDevice> make_card(const FakeCudaSpec& spec) {
  return make_cuda_device_over(std::make_unique<FakeCuda>(spec), card_spec(spec.memory), 3, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Fake, DeviceConformance,
                         ::testing::Values(DeviceCase{
                             "cuda:3", MiB, true,
                             [] { return make_card({.memory = MiB, .eager_compute = true, .delay_s_max = 1e-4}); }}),
                         device_case_name);

TEST(CudaDeviceTest, LoadsFromAnotherCardWhereOneReadsFromTheOther) {
  const auto from = make_card({.seed = 1, .memory = MiB}),
             to = make_card({.seed = 2, .memory = MiB, .reaches_others = true});
  EXPECT_TRUE(to->reads_from(*from));
  EXPECT_FALSE(from->reads_from(*to));
  EXPECT_FALSE(to->reads_from(*to));
  const auto emulated = make_emulated_device({DeviceSpec::Type::emulated, 1, MiB, 0, 1e9, 0, 1}, 0, nullptr);
  EXPECT_FALSE(to->reads_from(*emulated));

  const at::Tensor value = at::arange(1000, at::kFloat), back = at::empty_like(value);
  at::Tensor made = from->allocate({1000}, at::kFloat), taken = to->allocate({1000}, at::kFloat);
  const auto move = [](Device& device, auto way, const CopyRequest& copy) {
    std::promise<void> done;
    (device.*way)({copy}, "copy", [&done] { done.set_value(); });
    done.get_future().wait();
  };
  move(*from, &Device::load, {made.data_ptr(), value.data_ptr(), value.nbytes()});
  move(*to, &Device::load, {taken.data_ptr(), made.data_ptr(), made.nbytes(), true});
  EXPECT_EQ(to->counters().loaded, 0u) << "it did not come over the link to the host";
  made.zero_();
  move(*to, &Device::store, {back.data_ptr(), taken.data_ptr(), taken.nbytes()});
  EXPECT_TRUE(back.equal(value));
}

/// Tasks as the executor computes them: load x, bring b, compute x + b, store it. Whatever may be overwritten or let go
/// is, as soon as it may.
class Tasks {
 public:
  explicit Tasks(std::uint64_t seed, OrderingSite forgotten = OrderingSite::none)
      : drawn_(derive(seed, "tasks")), card_({.seed = seed}), forgotten_(forgotten) {}

  /// The first thing that was wrong; empty when nothing was.
  std::string run() {
    auto device =
        make_cuda_device_over(std::make_unique<ForgetfulCalls>(card_, forgotten_), card_spec(64 * MiB), 0, nullptr);
    device->enter_compute();
    for (Task& task : tasks_) run(*device, task);
    for (Task& task : tasks_) task.stored.get_future().wait();
    device->bring(at::ones({100}));  // on its way when the device goes
    if (device->failure()) note("a call failed");
    device.reset();
    if (!card_.misuse().empty()) note(card_.misuse());
    if (!card_.all_given_back()) note("something was not given back");
    return wrong_;
  }

 private:
  struct Task {
    std::vector<float> source, back;
    std::vector<at::Tensor> brought;
    at::Tensor out;
    std::promise<void> stored;
  };

  void run(CudaDevice& device, Task& task) {
    // Now and then more than the staging ring holds.
    const auto n = static_cast<std::int64_t>(drawn_.below(8) == 0 ? 3 * MiB / 4 : 1 + drawn_.below(100));
    task.source.resize(static_cast<std::size_t>(n));
    std::iota(task.source.begin(), task.source.end(), 1.0f);
    at::Tensor x = device.allocate({n}, at::kFloat);
    std::promise<void> loaded;
    device.load({{x.data_ptr(), task.source.data(), x.nbytes()}}, "x", [&loaded] { loaded.set_value(); });
    loaded.get_future().wait();
    std::fill(task.source.begin(), task.source.end(), -1.0f);
    const at::Tensor host = at::arange(n, at::kFloat).mul_(0.25);
    at::Tensor b = device.bring(host);
    host.fill_(-2);
    task.out = card_.allocate(card_.compute_stream(), {n}, at::kFloat);
    card_.launch(card_.compute_stream(),
                 [n, to = static_cast<float*>(task.out.data_ptr()), left = static_cast<const float*>(x.data_ptr()),
                  right = static_cast<const float*>(b.data_ptr())] {
                   for (std::int64_t i = 0; i < n; ++i) to[i] = left[i] + right[i];
                 });
    device.finish_compute();
    x = b = at::Tensor();
    task.back.resize(static_cast<std::size_t>(n));
    device.store({{task.back.data(), task.out.data_ptr(), task.out.nbytes()}}, "out", [this, &task] {
      for (std::size_t i = 0; i < task.back.size(); ++i)
        if (task.back[i] != static_cast<float>(i) * 1.25f + 1) note("what came back is wrong");
      task.out = at::Tensor();
      task.stored.set_value();
    });
  }
  void note(const std::string& what) {
    const std::lock_guard lock(mutex_);
    if (wrong_.empty()) wrong_ = what;
  }

  KeyedStream drawn_;
  std::mutex mutex_;  // guards wrong_
  std::string wrong_;
  std::array<Task, 4> tasks_;  // before the card, whose queues name their bytes
  FakeCuda card_;
  const OrderingSite forgotten_;
};

TEST(CudaDeviceTest, TasksGiveWhatTheyShouldInWhateverOrderTheCardWorks) {
  const std::uint64_t runs = fakes::drawn_runs(500);
  for (std::uint64_t seed = 0; seed < runs; ++seed) ASSERT_EQ(Tasks(seed).run(), "") << "seed " << seed;
}

TEST(CudaDeviceTest, NoOrderingCanBeForgotten) {
  for (const auto site :
       {OrderingSite::load_end_record, OrderingSite::load_synchronize, OrderingSite::store_end_record,
        OrderingSite::store_synchronize, OrderingSite::staging_record, OrderingSite::staging_synchronize,
        OrderingSite::staging_end, OrderingSite::compute_record, OrderingSite::compute_synchronize}) {
    std::string wrong;
    for (std::uint64_t seed = 0; seed < 200 && wrong.empty(); ++seed) wrong = Tasks(seed, site).run();
    EXPECT_NE(wrong, "") << to_string(site) << " can be forgotten, and nobody sees it";
  }
}

/// Whichever call it is that finds the card lost.
TEST(CudaDeviceTest, ALostCardMakesNobodyWaitAndSaysSo) {
  constexpr std::int64_t kValues = 100;
  for (const auto fault : {CudaFault::lost_card, CudaFault::other})
    for (std::uint64_t after = 0; after < 60; ++after) {
      std::vector<float> host(kValues, 1), back(kValues);
      auto calls = std::make_unique<FakeCuda>(FakeCudaSpec{.seed = after});
      FakeCuda& card = *calls;
      auto device = make_cuda_device_over(std::move(calls), card_spec(64 * MiB), 0, nullptr);
      device->enter_compute();
      card.fail_after(after, fault);
      bool thrown = false, told_of_it = false;
      for (int round = 0; round < 5; ++round) {
        const at::Tensor x = device->allocate({kValues}, at::kFloat);
        std::promise<void> loaded, stored;
        device->load({{x.data_ptr(), host.data(), x.nbytes()}}, "", [&] { loaded.set_value(); });
        loaded.get_future().wait();
        try {
          device->bring(at::ones({kValues}));
          device->finish_compute();
          EXPECT_FALSE(thrown) << "it computes again";
        } catch (const CudaFailure& failure) {
          EXPECT_EQ(std::string(failure.what()).find("Xid") != std::string::npos, fault == CudaFault::lost_card);
          thrown = true;
        }
        device->store({{back.data(), x.data_ptr(), x.nbytes()}}, "", [&] {
          told_of_it = device->failure() != nullptr;
          stored.set_value();
        });
        stored.get_future().wait();
        EXPECT_TRUE(told_of_it || back == host) << "a store that did not happen, after " << after << " calls";
        EXPECT_TRUE(told_of_it || !thrown);
        device->account();
        device->counters();
      }
      EXPECT_TRUE(thrown) << after;
    }
}

TEST(CudaDeviceTest, PinnedMemoryRefusedOnlyMakesItSlower) {
  FakeCudaSpec spec;
  spec.eager_compute = true;
  spec.refuse_pins = true;
  const auto device = make_card(spec);
  device->enter_compute();
  const at::Tensor host = at::rand({1000});
  EXPECT_TRUE(at::equal(device->bring(host), host));
}

TEST(CudaDeviceTest, AWorkThatLacksMemoryMayBeRecordedLater) {
  FakeCudaSpec spec;
  spec.eager_compute = true;
  const auto device = make_card(spec);
  device->enter_compute();
  const auto record = [&](bool full) {
    return device->record([&] { TORCH_CHECK_WITH(OutOfMemoryError, !full, "out of memory"); });
  };
  EXPECT_EQ(record(true), nullptr);
  EXPECT_NE(record(false), nullptr);
}

TEST(CudaDeviceTest, ACardThatIsLostWhileItsWorkIsRecordedOrAskedForSaysSo) {
  int recorded = 0;
  for (std::uint64_t calls = 0; calls < 12; ++calls) {
    FakeCudaSpec spec;
    spec.eager_compute = true;
    auto fake = std::make_unique<FakeCuda>(spec);
    FakeCuda& card = *fake;
    const auto device = make_cuda_device_over(std::move(fake), card_spec(spec.memory), 0, nullptr);
    device->enter_compute();
    at::Tensor x = device->bring(at::ones({8}));
    device->finish_compute();
    card.fail_after(calls, CudaFault::lost_card);
    try {
      const auto record = device->record([&] { x.add_(1); });
      recorded += record != nullptr;
      for (std::uint64_t i = 0; i < 12; ++i) record->ask();
      FAIL() << "the card was lost after " << calls << " calls, and nobody said so";
    } catch (const CudaFailure& failure) {
      EXPECT_EQ(failure.fault(), CudaFault::lost_card);
    }
    EXPECT_TRUE(device->failure());
  }
  EXPECT_EQ(recorded, 10) << "all but those lost at the beginning and at the end of the record";
}

TEST(CudaDeviceTest, TransfersAreSlicesOfTheTrace) {
  TraceRecorder trace;
  std::vector<float> host(1000, 1);
  auto device = make_cuda_device_over(std::make_unique<FakeCuda>(FakeCudaSpec{}), card_spec(MiB), 1, &trace);
  const at::Tensor x = device->allocate({1000}, at::kFloat);
  for (const char* label : {"one", "two"}) device->load({{x.data_ptr(), host.data(), x.nbytes()}}, label, [] {});
  device.reset();
  EXPECT_EQ(trace.tracks(), (std::vector<std::string>{"cuda:1/load", "cuda:1/store"}));
  const auto slices = trace.slices();
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[0].name, "one");
  EXPECT_EQ(slices[0].category, "load");
  EXPECT_EQ(slices[0].bytes, 4000u);
  for (const auto& slice : slices) EXPECT_LE(slice.begin_s, slice.end_s);
  EXPECT_LE(slices[0].end_s, slices[1].begin_s);
}

}  // namespace
}  // namespace hopyard
