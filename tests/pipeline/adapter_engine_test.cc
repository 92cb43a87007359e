// Adapters, heads and layer-wise rates in the engine: cut equals whole, to the last bit.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "fakes/small_world.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;
using Kind = AdapterSpec::Kind;

class AdapterEngine : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  TrialToRun trial(const char* config, const std::function<void(ModelSpec&)>& change) {
    world_ = std::make_unique<SmallWorld>(config);
    ModelSpec spec;
    spec.checkpoint = world_->folder / "model";
    spec.task = config == fakes::kTinyGpt2 ? ModelTask::causal_lm : ModelTask::sequence_classification;
    change(spec);
    TrialToRun trial;
    trial.source = std::make_shared<ModelSource>(spec, data_shape(*world_->data, spec.task));
    trial.train.batch_size = 4;
    trial.train.micro_batch_size = 2;
    trial.train.optimizer.lr = 1e-2;
    trial.train.precision = GetParam();
    if (GetParam() == Precision::fp16) fakes::skip_some_steps(trial.train);
    return trial;
  }

  void expect_whole(const TrialToRun& trial, const char* what) {
    const std::string whole = fakes::train_whole(*world_, trial);
    const auto layers = static_cast<std::uint32_t>(trial.source->description().layers.size());
    for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {2}, {1, 2, layers - 1}})
      for (const bool emulated : {false, true}) {
        EngineSetup setup;
        setup.cuts = cuts;
        setup.emulated = emulated;
        MemoryDiskTier disk;
        const auto result = fakes::train(*world_, {trial}, setup, disk);
        EXPECT_EQ(result.errors[0], "");
        EXPECT_EQ(result.outcomes[0], whole)
            << what << ", " << cuts.size() << " cuts" << (emulated ? ", emulated" : "");
      }
  }

  std::unique_ptr<SmallWorld> world_;
};

TEST_P(AdapterEngine, LowRankAdaptersEqualWhole) {
  const AdapterSpec lora{.kind = Kind::lora, .rank = 3, .dropout = 0.2, .targets = {"all"}};
  expect_whole(trial(fakes::kTinyBert, [&](ModelSpec& spec) { spec.adapter = lora; }), "bert");
  expect_whole(trial(fakes::kTinyBert,
                     [&](ModelSpec& spec) {
                       spec.adapter = lora;
                       spec.freeze = 3;
                     }),
               "bert with frozen layers");
  expect_whole(trial(fakes::kTinyGpt2, [&](ModelSpec& spec) { spec.adapter = lora; }), "gpt2, whose head is frozen");
}

TEST_P(AdapterEngine, ClippedStepsEqualWhole) {
  for (const char* config : {fakes::kTinyBert, fakes::kTinyGpt2}) {
    TrialToRun one = trial(config, [](ModelSpec& spec) { spec.adapter = {.kind = Kind::lora, .rank = 2}; });
    one.train.clip_norm = 0.01;
    expect_whole(one, config);
  }
}

TEST_P(AdapterEngine, BottlenecksEqualWhole) {
  for (const char* config : {fakes::kTinyBert, fakes::kTinyGpt2})
    expect_whole(trial(config, [](ModelSpec& spec) { spec.adapter = {.kind = Kind::bottleneck, .size = 5}; }), config);
}

TEST_P(AdapterEngine, HeadsAndPoolingsEqualWhole) {
  for (const Pooling pooling : {Pooling::mean, Pooling::max})
    expect_whole(trial(fakes::kTinyBert,
                       [&](ModelSpec& spec) {
                         spec.pooling = pooling;
                         spec.head = pooling == Pooling::mean ? HeadKind::linear : HeadKind::mlp;
                       }),
                 "heads");
}

TEST_P(AdapterEngine, RatesOfEachLayerEqualWhole) {
  std::string outcome;
  for (const double decay : {1.0, 0.5})
    for (const bool clip : {false, true}) {
      TrialToRun one = trial(fakes::kTinyBert, [](ModelSpec&) {});
      one.train.optimizer.layer_decay = decay;
      if (clip) one.train.clip_norm = 0.05;
      expect_whole(one, "layer decay");
      const std::string whole = fakes::train_whole(*world_, one);
      EXPECT_NE(whole, outcome);
      outcome = whole;
    }
  TrialToRun tied = trial(fakes::kTinyGpt2, [](ModelSpec&) {});
  tied.train.optimizer.layer_decay = 0.8;
  expect_whole(tied, "layer decay with tied embeddings");
}

INSTANTIATE_TEST_SUITE_P(Precisions, AdapterEngine,
                         ::testing::Values(Precision::fp32, Precision::bf16, Precision::fp16),
                         [](const auto& info) { return to_string(info.param); });

}  // namespace
}  // namespace hopyard
