// Sums of a step begin while its backward goes on, and hold no device.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>

#include "fakes/memory_exchange.h"
#include "fakes/train_together.h"
#include "fakes/trial_home.h"
#include "pipeline/step_sum.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::MemoryExchange;
using fakes::SmallWorld;
using fakes::TrialToRun;

constexpr auto kPatience = std::chrono::seconds(20);

/// What a member has got to, for others to wait for.
class Progress {
 public:
  void set(std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    count_ = count;
    changed_.notify_all();
  }
  /// False when it took too long.
  bool await(std::uint64_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t count_ = 0;  // guarded by mutex_
};

/// Calls these before each sum of a step, and before its gather(), which is first.
class WatchedExchange final : public StepExchange {
 public:
  WatchedExchange(std::shared_ptr<StepExchange> inner, std::function<void()> on_gather, std::function<void()> on_sum)
      : inner_(std::move(inner)), on_gather_(std::move(on_gather)), on_sum_(std::move(on_sum)) {}
  bool in_order() const override { return inner_->in_order(); }
  void gather(std::span<double> values, MicroBatchRange own) override {
    on_gather_();
    inner_->gather(values, own);
  }
  void sum(std::span<const GradientPart> parts, std::span<std::byte> staging) override {
    on_sum_();
    inner_->sum(parts, staging);
  }
  void cancel(const std::string& reason) override { inner_->cancel(reason); }
  ExchangeTraffic traffic() const override { return inner_->traffic(); }

 private:
  const std::shared_ptr<StepExchange> inner_;
  const std::function<void()> on_gather_, on_sum_;
};

/// Calls `after` with the number of each task, from 0, when it is computed and before anybody hears of that.
class GatedDevice final : public fakes::RecordingDevice {
 public:
  GatedDevice(std::unique_ptr<Device> inner, fakes::LinkActions& actions, std::function<void(std::uint64_t)> after)
      : RecordingDevice(std::move(inner), actions), after_(std::move(after)) {}
  void finish_compute() override {
    RecordingDevice::finish_compute();
    after_(tasks_++);
  }

 private:
  const std::function<void(std::uint64_t)> after_;
  std::uint64_t tasks_ = 0;
};

class EarlySumsTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  static std::unique_ptr<Device> plain_device(bool emulated, std::uint32_t index, Bytes memory) {
    DeviceSpec spec;
    spec.memory = memory;
    spec.link_bytes_per_s = 4e9;
    spec.type = emulated ? DeviceSpec::Type::emulated : DeviceSpec::Type::cpu;
    return emulated ? make_emulated_device(spec, index, nullptr) : make_cpu_device(spec, index, memory);
  }

  /// No member ends the last backward of a step before it has begun to sum the step.
  static void expect_early(const std::vector<std::uint32_t>& cuts, bool emulated, const DataParallelSpec& how) {
    const SmallWorld world(fakes::kTinyBert);
    auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, how.degree);
    trial.train.data_parallel = how;
    trial.train.clip_norm = 0.05;
    trial.rows_per_visit = 12;
    trial.visits = 1;
    trial.evaluate = false;
    const std::uint64_t shards = cuts.size() + 1, last = 2 * shards - 2;
    const std::uint64_t tasks =
        emulated ? 2 * shards - 1 : 3 * shards - 1;  // of a step: updates are the host's, or not
    std::vector<Progress> summing(how.degree);       // the step that each sums, from 1
    std::vector<fakes::LinkActions> actions(how.degree);
    std::atomic<bool> waited_in_vain = false;
    std::vector<EngineSetup> setups(how.degree);
    for (std::uint32_t m = 0; m < how.degree; ++m) {
      setups[m].cuts = cuts;
      setups[m].execute.keep_activations = false;
      setups[m].make_device = [&, m](std::uint32_t index, Bytes memory) {
        return std::make_unique<GatedDevice>(plain_device(emulated, index, memory), actions[m],
                                             [&, m](std::uint64_t i) {
                                               if (i % tasks == last && !summing[m].await(i / tasks + 1))
                                                 waited_in_vain = true;
                                             });
      };
    }
    const auto all = MemoryExchange::of(how.degree, how.sum == DataParallelSpec::Sum::ordered, 60);
    const auto [results, failures] =
        fakes::train_together(world, {trial}, setups, [&](std::uint32_t, std::uint32_t member) {
          const auto step = std::make_shared<std::uint64_t>(0);
          return std::make_shared<WatchedExchange>(
              all->member(member), [step] { ++*step; }, [&, step, member] { summing[member].set(*step); });
        });
    for (std::uint32_t m = 0; m < how.degree; ++m) {
      ASSERT_EQ(failures[m], "");
      EXPECT_EQ(results[m].errors[0], "");
      EXPECT_EQ(results[m].outcomes[0], results[0].outcomes[0]);
      if (how.is_exact()) {
        EXPECT_EQ(results[m].outcomes[0], fakes::train_whole(world, trial));
      }
    }
    EXPECT_FALSE(waited_in_vain) << "a backward ended before its step was summed: " << cuts.size() << emulated;
  }
};

TEST_F(EarlySumsTest, ShardsAreSummedWhileThoseBeforeThemAreComputed) {
  for (const auto sum : {DataParallelSpec::Sum::ordered, DataParallelSpec::Sum::all_reduce})
    for (const std::uint32_t degree : {2u, 3u}) expect_early({2, 4}, true, {degree, sum});
}

TEST_F(EarlySumsTest, InHostMemoryLayersAreSummedWhileThoseBeforeThemAreComputed) {
  for (const auto sum : {DataParallelSpec::Sum::ordered, DataParallelSpec::Sum::all_reduce})
    for (const std::uint32_t degree : {2u, 3u}) expect_early({}, false, {degree, sum});
  expect_early({2}, false, {2});
}

TEST_F(EarlySumsTest, ATrialWhoseWindowHasNoRoomForItSumsAtTheEnd) {
  const SmallWorld world(fakes::kTinyBert);
  const auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 2);
  const auto is_early = [&](double window_share) {
    EngineSetup engine;
    engine.cuts = {1, 2, 3, 4, 5};
    engine.window_share = window_share;
    fakes::TrialHome home(world, trial, engine);
    return sums_early(*home.run());
  };
  EXPECT_TRUE(is_early(1));
  EXPECT_TRUE(is_early(0.7));
  EXPECT_FALSE(is_early(0)) << "the largest task fills it";
}

TEST_F(EarlySumsTest, AnotherTrialTrainsToItsEndWhileAShardIsBeingSummed) {
  // The second member sums nothing before the first one's other trial is through, whatever the first has room for.
  const SmallWorld world(fakes::kTinyBert);
  auto trial = fakes::shared_trial(world, ModelTask::sequence_classification, 2);
  trial.visits = 1;
  TrialToRun other = fakes::shared_trial(world, ModelTask::sequence_classification, 1);
  other.seed = 7;
  other.visits = 1;
  constexpr std::uint64_t kShards = 6, kStep = 2 * kShards - 1;
  const std::uint64_t batches = batch_count(other.rows_per_visit, other.train.batch_size);
  const std::uint64_t judging = batch_count(fakes::kValidRows, other.train.batch_size) * kShards;
  const std::uint64_t all_tasks = kStep + batches * kStep + judging;  // one step of one trial, and all of the other
  for (const bool emulated : {false, true})
    for (const double window_share : {1.0, 0.7, 0.5, 0.3, 0.0}) {
      EngineSetup setup;
      setup.cuts = {1, 2, 3, 4, 5};
      setup.window_share = window_share;
      std::vector<fakes::LinkActions> actions(2);
      std::vector<EngineSetup> setups(2, setup);
      Progress others;
      std::atomic<bool> waited_in_vain = false;
      setups[0].make_device = [&](std::uint32_t index, Bytes memory) {
        return std::make_unique<GatedDevice>(plain_device(emulated, index, memory), actions[0],
                                             [&](std::uint64_t i) { others.set(i + 1); });
      };
      const auto all = MemoryExchange::of(2, true, 60);
      const auto [results, failures] =
          fakes::train_together(world, {trial, other}, setups, [&](std::uint32_t, std::uint32_t member) {
            const auto on_sum = [&, member] {
              if (member == 1 && !others.await(all_tasks)) waited_in_vain = true;
            };
            return std::make_shared<WatchedExchange>(
                all->member(member), [] {}, on_sum);
          });
      for (const auto& failure : failures) EXPECT_EQ(failure, "") << window_share;
      EXPECT_FALSE(waited_in_vain) << window_share << emulated;
    }
}

}  // namespace
}  // namespace hopyard
