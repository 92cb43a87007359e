// What a model begins with and what of it trains: heads, layers that begin anew, adapters, PEFT folders.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/files.h"
#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"
#include "fakes/whole_model.h"
#include "model/bert_head.h"

namespace hopyard {
namespace {

using fakes::failure_of;
using fakes::WholeModel;
using testing::ElementsAre;
using testing::HasSubstr;
using Kind = AdapterSpec::Kind;

const char* const kBert = R"({"model_type":"bert","vocab_size":50,"hidden_size":32,"num_hidden_layers":3,
  "num_attention_heads":4,"intermediate_size":64,"max_position_embeddings":16})";
const char* const kGpt2 =
    R"({"model_type":"gpt2","vocab_size":50,"n_embd":32,"n_layer":2,"n_head":4,"n_positions":16})";
const char* const kMlp = R"({"model_type":"mlp","input_size":16,"hidden_sizes":[40,24]})";
constexpr std::uint32_t kBertHead = 4;

PartReader reading(const WholeModel& model) {
  return [&](std::uint32_t layer, Part part, std::span<std::byte> out) {
    std::memcpy(out.data(), model.flat(layer, part).data(), out.size());
  };
}

class Transfer : public testing::Test {
 protected:
  /// A checkpoint "base" of random weights, drawn once.
  void SetUp() override {
    at::set_num_threads(1);
    make_base(kBert, ModelTask::sequence_classification);
  }

  void make_base(const std::string& config, ModelTask task) {
    std::filesystem::create_directories(folder_ / "drawn");
    folder_.write("drawn/config.json", config);
    spec_ = {};
    spec_.checkpoint = folder_ / "drawn";
    spec_.task = task;
    spec_.overrides = {{"dropout", 0.0}};
    if (config == kMlp) shape_.input = DataShape::Input::features;
    const ModelSource drawn(spec_, shape_);
    spec_.checkpoint = folder_ / "base";
    drawn.export_to(spec_.checkpoint, [&](std::uint32_t layer, Part part, std::span<std::byte> out) {
      drawn.initialise(layer, part, 1, out);
    });
  }

  ModelSource open() const { return ModelSource(spec_, shape_); }
  std::string refusal(ExitCode code = ExitCode::usage) const {
    return failure_of(code, [&] { open(); });
  }

  Batch batch(std::int64_t tokens = 16) const {
    at::manual_seed(3);
    Batch batch{at::randint(0, 50, {6, tokens}, at::kLong), {}, at::randint(0, 3, {6}, at::kLong)};
    batch.attention_mask = at::arange(tokens).lt(at::arange(3, 9).unsqueeze(1)).to(at::kLong);
    return batch;
  }

  /// Trained for some steps, so that no part is as it began.
  WholeModel trained(const ModelSource& source) const {
    WholeModel model(source, 7, {});
    const std::vector<Batch> batches{batch()};
    for (std::uint64_t step = 0; step < 3; ++step) model.train_step(batches, 1e-2, std::nullopt, step);
    return model;
  }

  static std::vector<std::string> trainable(const ModelSource& source, std::uint32_t layer) {
    std::vector<std::string> names;
    for (const auto& parameter : source.description().layers[layer].parameters)
      if (!parameter.frozen) names.push_back(parameter.name);
    return names;
  }
  static Digest digest(const ModelSource& source, std::uint64_t seed) { return WholeModel(source, seed, {}).digest(); }

  fakes::TemporaryFolder folder_;
  ModelSpec spec_;
  DataShape shape_{.tokens = 16, .classes = 3, .label_names = {"a", "b", "c"}};
};

TEST(Pooling, IsOverTheTokensThatCount) {
  const at::Tensor x = at::tensor({1.0, 2.0, 6.0, 4.0, 5.0, 9.0}).to(at::kFloat).view({2, 3, 1});
  const at::Tensor mask = at::tensor({1, 1, 0, 1, 1, 1}, at::kLong).view({2, 3});
  const auto pooled = [&](Pooling pooling, const at::Tensor& mask) { return pool(x, pooling, mask).view({2}); };
  EXPECT_TRUE(pooled(Pooling::cls, mask).equal(at::tensor({1.0f, 4.0f})));
  EXPECT_TRUE(pooled(Pooling::mean, mask).equal(at::tensor({1.5f, 6.0f})));
  EXPECT_TRUE(pooled(Pooling::max, mask).equal(at::tensor({2.0f, 9.0f})));
  EXPECT_TRUE(pooled(Pooling::mean, {}).equal(at::tensor({3.0f, 6.0f})));
  EXPECT_TRUE(pooled(Pooling::max, {}).equal(at::tensor({6.0f, 9.0f})));
}

TEST_F(Transfer, HeadsHaveTheirOwnParameters) {
  spec_.head = HeadKind::linear;
  EXPECT_THAT(trainable(open(), kBertHead), ElementsAre("classifier.weight", "classifier.bias"));
  spec_.head = HeadKind::mlp;
  EXPECT_THAT(trainable(open(), kBertHead), ElementsAre("classifier.dense.weight", "classifier.dense.bias",
                                                        "classifier.out_proj.weight", "classifier.out_proj.bias"));
  for (const HeadKind head : {HeadKind::pooler, HeadKind::linear, HeadKind::mlp})
    for (const Pooling pooling : {Pooling::cls, Pooling::mean, Pooling::max}) {
      spec_.head = head;
      spec_.pooling = pooling;
      const ModelSource source = open();
      WholeModel model(source, 7, {});
      const std::vector<Batch> batches{batch()};
      const double first = model.train_step(batches, 1e-2, std::nullopt, 0);
      double last = first;
      for (std::uint64_t step = 1; step < 20; ++step) last = model.train_step(batches, 1e-2, std::nullopt, step);
      EXPECT_LT(last, 0.7 * first) << "learns six rows";
    }
}

TEST_F(Transfer, HeadsThatTransformersLacksAreExportedApart) {
  spec_.head = HeadKind::linear;
  spec_.pooling = Pooling::mean;
  const ModelSource source = open();
  const WholeModel model(source, 7, {});
  EXPECT_THAT(source.export_to(folder_ / "out", reading(model)), HasSubstr("head.safetensors"));
  EXPECT_EQ(read_json(folder_ / "out/config.json")["architectures"][0], "BertModel");
  EXPECT_EQ(read_json(folder_ / "out/head.json")["pooling"], "mean");
  EXPECT_EQ(SafetensorsFile(folder_ / "out/head.safetensors").tensors().size(), 2u);
  const SafetensorsFile body(folder_ / "out/model.safetensors");
  EXPECT_EQ(body.find("classifier.weight"), nullptr);
  EXPECT_NE(body.find("bert.encoder.layer.2.output.dense.weight"), nullptr);
}

TEST_F(Transfer, TopLayersAndHeadBeginAnew) {
  const ModelSource as_it_is = open();
  EXPECT_EQ(digest(as_it_is, 1), digest(as_it_is, 2)) << "the checkpoint has every weight";
  spec_.reinit_layers = 2;
  const ModelSource source = open();
  for (std::uint32_t layer = 0; layer <= kBertHead; ++layer)
    EXPECT_EQ(source.from_checkpoint(layer, Part::own), layer < 2) << layer;
  const WholeModel one(source, 2, {}), other(source, 3, {}), whole(as_it_is, 2, {});
  for (std::uint32_t layer = 0; layer <= kBertHead; ++layer) {
    EXPECT_EQ(std::ranges::equal(one.flat(layer), other.flat(layer)), layer < 2) << layer;
    EXPECT_EQ(std::ranges::equal(one.flat(layer), whole.flat(layer)), layer < 2) << layer;
  }
}

TEST_F(Transfer, FromScratchNothingIsAsInTheCheckpoint) {
  spec_.from_scratch = true;
  const ModelSource source = open();
  for (std::uint32_t layer = 0; layer <= kBertHead; ++layer) EXPECT_FALSE(source.from_checkpoint(layer, Part::own));
  EXPECT_NE(digest(source, 1), digest(source, 2));
  spec_.checkpoint = folder_ / "drawn";
  spec_.from_scratch = false;
  EXPECT_EQ(digest(source, 2), digest(open(), 2)) << "as a folder with config.json alone";
}

TEST_F(Transfer, OfLowRankAdaptersOnlyTheyAndTheHeadTrain) {
  spec_.adapter.kind = Kind::lora;
  const ModelSource source = open();
  EXPECT_EQ(source.frozen_layers(), 1u) << "the embeddings";
  const std::string self = "bert.encoder.layer.0.attention.self.";
  EXPECT_THAT(trainable(source, 1), ElementsAre(self + "query.lora_A.weight", self + "query.lora_B.weight",
                                                self + "value.lora_A.weight", self + "value.lora_B.weight"));
  EXPECT_EQ(trainable(source, kBertHead).size(), 4u);
  EXPECT_TRUE(source.from_checkpoint(1, Part::shared));
  EXPECT_FALSE(source.from_checkpoint(1, Part::own));

  spec_.adapter.kind = Kind::none;
  const ModelSource plain = open();
  EXPECT_TRUE(WholeModel(source, 1, {}).logits(batch()).equal(WholeModel(plain, 1, {}).logits(batch())))
      << "B begins at zero";
  EXPECT_GT(source.description().layers[1].forward_flops_per_row, plain.description().layers[1].forward_flops_per_row);
}

TEST_F(Transfer, FreezeKeepsLayersWithoutAdapters) {
  spec_.adapter = {.kind = Kind::lora, .targets = {"all"}};
  spec_.freeze = 3;
  const ModelSource source = open();
  EXPECT_EQ(source.frozen_layers(), 3u);
  EXPECT_EQ(source.description().layers[2].parameters.size(), 16u);
  EXPECT_EQ(trainable(source, 3).size(), 12u);
  spec_.freeze = 4;
  EXPECT_THAT(refusal(), HasSubstr("freeze at most 3"));
}

TEST_F(Transfer, BottlenecksTrainWithTheNormsBesideThem) {
  spec_.adapter = {.kind = Kind::bottleneck, .size = 5};
  const ModelSource source = open();
  EXPECT_EQ(source.frozen_layers(), 1u);
  const auto names = trainable(source, 2);
  EXPECT_EQ(names.size(), 2u * 4 + 2 * 2);
  EXPECT_THAT(names, testing::Contains("bert.encoder.layer.1.attention.output.adapter.down.weight"));
  EXPECT_THAT(names, testing::Contains("bert.encoder.layer.1.output.LayerNorm.bias"));

  const WholeModel model = trained(source);
  EXPECT_THAT(source.export_to(folder_ / "out", reading(model)), HasSubstr("adapter.safetensors"));
  EXPECT_EQ(SafetensorsFile(folder_ / "out/adapter.safetensors").tensors().size(), 3 * names.size() + 4);
  EXPECT_EQ(read_json(folder_ / "out/adapter.json")["size"], 5);
  EXPECT_THAT(
      failure_of(ExitCode::usage, [&] { source.export_to(folder_ / "out", reading(model), ExportForm::merged); }),
      HasSubstr("cannot be merged"));
}

TEST_F(Transfer, RefusesWhatContradictsItself) {
  spec_.reinit_layers = 4;
  EXPECT_THAT(refusal(), HasSubstr("from 0 to 3"));
  spec_.reinit_layers = 2;
  spec_.freeze = 3;
  EXPECT_THAT(refusal(), HasSubstr("model.freeze 3 keeps as they are"));
  spec_.freeze = 2;
  open();
  spec_.freeze = 0;
  spec_.adapter.kind = Kind::lora;
  EXPECT_THAT(refusal(), HasSubstr("would stay random"));
  spec_.reinit_layers = 0;
  spec_.adapter.targets = {"query", "c_attn"};
  EXPECT_THAT(refusal(), HasSubstr("'c_attn' names no module of the blocks; choose from: attention.output.dense"));
  spec_.adapter.targets = {"dense"};
  EXPECT_THAT(refusal(), HasSubstr("'dense'")) << "which peft would also put on the pooler";
}

TEST_F(Transfer, RefusesWhatAFamilyDoesNotHave) {
  make_base(kGpt2, ModelTask::causal_lm);
  spec_.pooling = Pooling::mean;
  EXPECT_THAT(refusal(), HasSubstr("model.pooling: gpt2"));
  spec_.pooling = Pooling::cls;
  spec_.head = HeadKind::linear;
  EXPECT_THAT(refusal(), HasSubstr("model.head: gpt2"));
  make_base(kMlp, ModelTask::sequence_classification);
  spec_.adapter.kind = Kind::lora;
  EXPECT_THAT(refusal(), HasSubstr("model.adapter: mlp has no adapters"));
  spec_.adapter.kind = Kind::none;
  spec_.reinit_layers = 2;
  EXPECT_FALSE(open().from_checkpoint(0, Part::own));
  spec_.reinit_layers = 3;
  EXPECT_THAT(refusal(), HasSubstr("from 0 to 2"));
}

/// Families whose adapters go out as PEFT folders and come in again.
class PeftFolders : public Transfer, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    make_base(GetParam(), GetParam() == kBert ? ModelTask::sequence_classification : ModelTask::causal_lm);
    spec_.adapter = {.kind = Kind::lora, .rank = 4, .alpha = 6, .dropout = 0.1, .targets = {"all"}};
  }
};

TEST_P(PeftFolders, ComeInAsTheyWentOut) {
  spec_.freeze = 2;
  const ModelSource source = open();
  WholeModel model = trained(source);
  EXPECT_EQ(source.export_to(folder_ / "out", reading(model)), "");
  spec_.adapter = {.kind = Kind::lora, .from = folder_ / "out"};
  const ModelSource again = open();
  EXPECT_EQ(*again.spec().adapter.rank, 4);
  EXPECT_EQ(*again.spec().adapter.dropout, 0.1);
  EXPECT_EQ(digest(again, 9), model.digest());
  EXPECT_TRUE(again.from_checkpoint(2, Part::own));
  EXPECT_TRUE(WholeModel(again, 9, {}).logits(batch()).equal(model.logits(batch())));
}

TEST_P(PeftFolders, MergeIntoTheBaseModel) {
  const ModelSource source = open();
  WholeModel model = trained(source);
  EXPECT_EQ(source.export_to(folder_ / "out", reading(model), ExportForm::merged), "");
  spec_.checkpoint = folder_ / "out";
  spec_.adapter = {};
  const ModelSource merged = open();
  const at::Tensor difference = WholeModel(merged, 9, {}).logits(batch()) - model.logits(batch());
  EXPECT_LE(difference.abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(merged.from_checkpoint(1, Part::own));
}

INSTANTIATE_TEST_SUITE_P(Families, PeftFolders, testing::Values(kBert, kGpt2),
                         [](const auto& info) { return std::string(info.param == kBert ? "bert" : "gpt2"); });

/// A PEFT folder that something is wrong with.
class BadPeftFolder : public Transfer {
 protected:
  void SetUp() override {
    Transfer::SetUp();
    spec_.adapter = {.kind = Kind::lora, .rank = 4};
    const ModelSource source = open();
    const WholeModel model(source, 1, {});
    source.export_to(folder_ / "peft", reading(model));
    config_ = read_json(folder_ / "peft/adapter_config.json");
    spec_.adapter = {.kind = Kind::lora, .from = folder_ / "peft"};
    open();
  }
  std::string refusal_of_config(const char* key, const Json& value, ExitCode code = ExitCode::input) {
    Json config = config_;
    config[key] = value;
    folder_.write("peft/adapter_config.json", config.dump());
    return refusal(code);
  }
  /// The folder's tensors, after `change` has had its way with their list, all zero.
  template <class Change>
  std::string refusal_of_tensors(const Change& change, ExitCode code = ExitCode::input) {
    std::vector<TensorToWrite> tensors;
    {
      const SafetensorsFile file(folder_ / "peft/adapter_model.safetensors");
      for (const auto& tensor : file.tensors()) tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
    }
    change(tensors);
    write_safetensors(folder_ / "peft/adapter_model.safetensors", tensors,
                      [](std::size_t, std::span<std::byte> out) { std::fill(out.begin(), out.end(), std::byte{0}); });
    return refusal(code);
  }
  Json config_;
};

TEST_F(BadPeftFolder, OfAnotherBaseModel) {
  EXPECT_THAT(refusal_of_config("base_model_name_or_path", "google/bert-base", ExitCode::usage),
              HasSubstr("the base model 'bert-base' and model.checkpoint is 'base'"));
}

TEST_F(BadPeftFolder, OfAnotherRankOrOtherTargets) {
  spec_.adapter.rank = 8;
  EXPECT_THAT(refusal(), HasSubstr("model.adapter.rank: 8 is not the 4 of"));
  spec_.adapter.rank = 4;
  spec_.adapter.alpha = 3;
  EXPECT_THAT(refusal(), HasSubstr("model.adapter.alpha"));
  spec_.adapter.alpha.reset();
  spec_.adapter.targets = {"query"};
  EXPECT_THAT(refusal(), HasSubstr("leave them out to take the folder's"));
  spec_.adapter.targets.clear();
  EXPECT_THAT(refusal_of_config("target_modules", {"query", "q_proj"}, ExitCode::usage), HasSubstr("'q_proj'"));
  EXPECT_THAT(refusal_of_config("target_modules", "all-linear"), HasSubstr("list of module names"));
}

TEST_F(BadPeftFolder, OfAnotherKind) {
  EXPECT_THAT(refusal_of_config("peft_type", "IA3"), HasSubstr("only LORA"));
  EXPECT_THAT(refusal_of_config("use_dora", true), HasSubstr("use_dora"));
  EXPECT_THAT(refusal_of_config("use_rslora", true), HasSubstr("use_rslora"));
  EXPECT_THAT(refusal_of_config("bias", "all"), HasSubstr("bias"));
  EXPECT_THAT(refusal_of_config("rank_pattern", Json{{"query", 2}}), HasSubstr("rank_pattern"));
  EXPECT_THAT(refusal_of_config("r", 0), HasSubstr("r must be at least 1"));
  EXPECT_THAT(refusal_of_config("lora_alpha", "much"), HasSubstr("lora_alpha a number"));
}

TEST_F(BadPeftFolder, WithOtherTensors) {
  EXPECT_THAT(refusal_of_tensors([](auto& tensors) { tensors[4].shape = {3, 32}; }), HasSubstr("[3, 32]"));
  EXPECT_THAT(refusal_of_tensors([](auto& tensors) {
                tensors[4].shape = {4, 32}, tensors.push_back({"base_model.model.x", Dtype::f32, {1}});
              }),
              HasSubstr("'base_model.model.x' has no place"));
  EXPECT_THAT(refusal_of_tensors([](auto& tensors) {
                tensors.pop_back(), tensors.push_back({"x", Dtype::f32, {1}});
              }),
              HasSubstr("is not what PEFT writes"));
  EXPECT_THAT(refusal_of_tensors([](auto& tensors) { tensors.resize(8); }),
              HasSubstr("is missing; the folder belongs"));
}

TEST_F(BadPeftFolder, WithoutItsFiles) {
  std::filesystem::rename(folder_ / "peft/adapter_model.safetensors", folder_ / "peft/adapter_model.bin");
  EXPECT_THAT(refusal(ExitCode::input), HasSubstr("pickle"));
  spec_.adapter.from = folder_ / "base";
  EXPECT_THAT(refusal(ExitCode::input), HasSubstr("has no adapter_config.json"));
  spec_.adapter.from = folder_ / "nowhere";
  EXPECT_THAT(refusal(ExitCode::input), HasSubstr("nowhere"));
}

}  // namespace
}  // namespace hopyard
