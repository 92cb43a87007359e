// The whole engine on a card that is there: the bits of a trial that is whole on it, however it is cut, however unkind
// memory and streams are, and with its steps as graphs.
#include <ATen/Parallel.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/rng.h"
#include "cuda/cuda_device.h"
#include "cuda/real_calls.h"
#include "cuda/real_kernels.h"
#include "fakes/cards.h"
#include "fakes/small_world.h"
#include "fakes/unkind_calls.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;
using fakes::UnkindCalls;
using fakes::UnkindWays;

constexpr Bytes kBudget = GiB;
constexpr double kDawdleSeconds = 300e-6;

cudaStream_t raw(StreamHandle stream) { return reinterpret_cast<cudaStream_t>(stream); }

UnkindWays ways_of_a_card() {
  return {
      .poison = [](void* data, Bytes bytes,
                   StreamHandle stream) { EXPECT_EQ(cudaMemsetAsync(data, 0xff, bytes, raw(stream)), cudaSuccess); },
      .dawdle =
          [](StreamHandle stream) {
            EXPECT_EQ(cudaLaunchHostFunc(
                          raw(stream), [](void*) { sleep_seconds(kDawdleSeconds); }, nullptr),
                      cudaSuccess);
          }};
}

class RealEngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    HOPYARD_SKIP_WITHOUT_CARD();
    at::set_num_threads(1);
    register_cuda_kernels();
    for (const char* config : {fakes::kTinyBert, fakes::kTinyGpt2, fakes::kTinyMlp})
      worlds_.push_back(std::make_unique<SmallWorld>(config));
  }

  /// Two trials of a world, the second one clipped and updated on the host, where cuts do not show.
  std::vector<TrialToRun> trials_of(std::size_t world, Precision precision) const {
    std::vector<TrialToRun> trials(2);
    for (std::size_t i = 0; i < trials.size(); ++i) {
      TrialToRun& trial = trials[i];
      trial.source = worlds_[world]->source(world == 1 ? ModelTask::causal_lm : ModelTask::sequence_classification);
      trial.seed = 1 + i;
      trial.train.batch_size = 4;
      trial.train.micro_batch_size = 2;
      trial.train.precision = precision;
      trial.train.update = i == 0 ? UpdatePlace::device : UpdatePlace::host;
      if (i == 1) trial.train.clip_norm = 0.5;
    }
    return trials;
  }

  /// What the trials come to; each is made a device of its own, which is unkind where `unkind_seed` says so.
  std::vector<std::string> outcomes(std::size_t world, const std::vector<TrialToRun>& trials, EngineSetup setup,
                                    std::optional<std::uint64_t> unkind_seed = std::nullopt) {
    RealCalls calls(0, kBudget);
    setup.device_memory = kBudget;
    setup.make_device = [&](std::uint32_t, Bytes memory) {
      const DeviceSpec spec{DeviceSpec::Type::cuda, 1, memory, 0, 0, 1};
      auto around =
          unkind_seed ? std::unique_ptr<CudaCalls>(std::make_unique<UnkindCalls>(calls, ways_of_a_card(), *unkind_seed))
                      : std::make_unique<fakes::CallsAround>(calls);
      return make_cuda_device_over(std::move(around), spec, 0, nullptr);
    };
    MemoryDiskTier disk;
    auto result = fakes::train(*worlds_[world], trials, setup, disk);
    recorded_ = 0;
    for (const auto& device : result.devices) recorded_ += device.recorded_steps;
    return std::move(result.outcomes);
  }

  std::vector<std::unique_ptr<SmallWorld>> worlds_;
  std::uint64_t recorded_ = 0;  ///< steps, by the run before
};

TEST_F(RealEngineTest, UnkindMemoryAndStreamsChangeNoBits) {
  for (std::size_t world = 0; world < worlds_.size(); ++world)
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      const auto trials = trials_of(world, precision);
      const auto whole = outcomes(world, trials, {});
      const auto layers = static_cast<std::uint32_t>(trials[0].source->description().layers.size());
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        KeyedStream stream(derive(seed, "cuts"));
        EngineSetup setup;
        for (std::uint32_t cut = 1; cut < layers; ++cut)
          if (stream.below(2) == 0) setup.cuts.push_back(cut);
        setup.execute.keep_activations = seed % 2 == 0;
        EXPECT_EQ(outcomes(world, trials, setup, seed), whole) << "world " << world << ", seed " << seed;
      }
    }
}

TEST_F(RealEngineTest, GraphsChangeNoBits) {
  for (std::size_t world = 0; world < worlds_.size(); ++world)
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      const auto trials = trials_of(world, precision);
      const auto whole = outcomes(world, trials, {});
      EngineSetup setup;
      setup.execute.cuda_graphs = true;
      for (const bool unkind : {false, true}) {
        EXPECT_EQ(outcomes(world, trials, setup, unkind ? std::optional<std::uint64_t>(world) : std::nullopt), whole)
            << "world " << world;
        EXPECT_GT(recorded_, 0u) << "world " << world;
      }
    }
}

}  // namespace
}  // namespace hopyard
