#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <thread>

#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"
#include "fakes/whole_model.h"
#include "model/initial_values.h"
#include "model/judge.h"
#include "model/layer.h"
#include "model/model.h"

namespace hopyard {
namespace {

using fakes::failure_of;
using fakes::FlatBuffer;
using testing::Test;

const char* const kBert = R"({"model_type":"bert","vocab_size":50,"hidden_size":32,"num_hidden_layers":2,
  "num_attention_heads":4,"intermediate_size":64,"max_position_embeddings":16,"pad_token_id":7})";
const char* const kGpt2 =
    R"({"model_type":"gpt2","vocab_size":50,"n_embd":32,"n_layer":2,"n_head":4,"n_positions":16})";
const char* const kMlp = R"({"model_type":"mlp","input_size":100,"hidden_sizes":[400,24],"activation":"relu"})";

class Source : public Test {
 protected:
  ModelSource open(const std::string& config, ModelTask task = ModelTask::sequence_classification) {
    folder_.write("config.json", config);
    spec_.checkpoint = folder_.path();
    spec_.task = task;
    return ModelSource(spec_, shape_);
  }
  std::string refusal(const std::string& config, ModelTask task = ModelTask::sequence_classification,
                      ExitCode code = ExitCode::input) {
    return failure_of(code, [&] { open(config, task); });
  }
  static std::vector<float> initial(const ModelSource& source, std::uint32_t layer, std::size_t parameter,
                                    std::uint64_t seed = 1) {
    const Part part = source.description().layers[layer].parameters[parameter].part();
    const LayerLayout layout = layout_of(source.description().layers[layer], part);
    const FlatBuffer buffer(layout.bytes);
    std::memset(buffer.bytes().data(), 0xff, layout.bytes);
    source.initialise(layer, part, seed, buffer.bytes());
    std::vector<float> values(layout.places[parameter].bytes / sizeof(float));
    std::memcpy(values.data(), buffer.bytes().data() + layout.places[parameter].offset, layout.places[parameter].bytes);
    return values;
  }
  /// Writes the model's own random weights as a checkpoint, after `change` has had its way with the list of tensors.
  template <class Change>
  void write_weights(const ModelSource& source, Change&& change) {
    std::vector<TensorToWrite> tensors;
    for (const LayerDescription& layer : source.description().layers)
      for (const ParameterDescription& parameter : layer.parameters)
        if (!parameter.tied_to) tensors.push_back({parameter.name, Dtype::f32, parameter.shape});
    change(tensors);
    write_safetensors(folder_ / "model.safetensors", tensors,
                      [](std::size_t, std::span<std::byte> out) { std::fill(out.begin(), out.end(), std::byte{0}); });
  }

  fakes::TemporaryFolder folder_;
  ModelSpec spec_;
  DataShape shape_{.tokens = 16, .classes = 3, .label_names = {"a", "b", "c"}};
};

std::int64_t total_parameters(const ModelDescription& model) {
  std::int64_t count = 0;
  for (const LayerDescription& layer : model.layers) count += layer.parameter_count();
  return count;
}

TEST_F(Source, DescribesLayersParametersAndFlops) {
  const ModelSource source = open(kBert);
  const ModelDescription& description = source.description();
  ASSERT_EQ(description.layers.size(), 4u);
  EXPECT_EQ(description.family, "bert");
  EXPECT_EQ(description.layers[0].name, "embeddings");
  EXPECT_EQ(description.layers[2].name, "encoder.1");
  EXPECT_EQ(description.layers[3].name, "head");
  EXPECT_EQ(description.layers[1].kind, description.layers[2].kind);
  const std::int64_t encoder = 4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32;
  EXPECT_EQ(total_parameters(description), (50 + 16 + 2 + 2) * 32 + 2 * encoder + 32 * 32 + 32 + 3 * 32 + 3);
  EXPECT_EQ(description.layers[1].forward_flops_per_row, 2 * 16 * (4 * 32 * 32 + 2 * 32 * 64) + 4 * 16 * 16 * 32);
  EXPECT_EQ(description.layers[1].output_bytes_per_row, 16u * 32 * 4);
  for (const LayerDescription& layer : description.layers)
    for (const ParameterDescription& parameter : layer.parameters)
      EXPECT_EQ(parameter.decays, parameter.shape.size() == 2) << parameter.name;
}

TEST_F(Source, TiedParametersCountOnce) {
  shape_.classes = 0;
  const ModelSource source = open(kGpt2, ModelTask::causal_lm);
  const LayerDescription& head = source.description().layers.back();
  const ParameterDescription& output = head.parameters.back();
  EXPECT_EQ(output.tied_to, (ParameterDescription::Owner{0, 0}));
  EXPECT_EQ(layout_of(head, Part::own).bytes, 2u * 32 * 4) << "a tied use has no place";
  EXPECT_EQ(total_parameters(source.description()),
            (50 + 16) * 32 + 2 * (3 * 32 * 32 + 3 * 32 + 32 * 32 + 32 + 8 * 32 * 32 + 4 * 32 + 32 + 4 * 32) + 2 * 32);
  EXPECT_EQ(source.counted_items(3), 3 * 15);
}

TEST_F(Source, LayoutAlignsEachParameter) {
  const ModelSource source = open(kBert);
  const LayerLayout layout = layout_of(source.description().layers[3], Part::own);
  EXPECT_EQ(layout.places[3].bytes, 3u * 4);
  for (const LayerLayout::Place& place : layout.places) EXPECT_EQ(place.offset % kTensorAlignment, 0u);
  EXPECT_EQ(layout.bytes, layout.places[3].offset + kTensorAlignment);
  const FlatBuffer buffer(layout.bytes);
  std::memset(buffer.bytes().data(), 0xff, layout.bytes);
  source.initialise(3, Part::own, 1, buffer.bytes());
  for (Bytes i = layout.places[3].offset + 12; i < layout.bytes; ++i) EXPECT_EQ(buffer.bytes()[i], std::byte{0});
}

TEST_F(Source, EachParameterLiesInOnePart) {
  spec_.freeze = 1;
  spec_.train_only = {"bias"};
  const ModelSource source = open(kBert);
  EXPECT_EQ(source.frozen_layers(), 1u);
  const auto modules = source.make_layers();
  for (std::size_t l = 0; l < modules.size(); ++l) {
    const LayerDescription& layer = source.description().layers[l];
    EXPECT_EQ(modules[l]->description(), layer);
    EXPECT_EQ(layer.trains(), l > 0);
    const LayerLayout own = layout_of(layer, Part::own), shared = layout_of(layer, Part::shared);
    for (std::size_t p = 0; p < layer.parameters.size(); ++p) {
      const ParameterDescription& parameter = layer.parameters[p];
      EXPECT_EQ(parameter.frozen, l == 0 || parameter.name.find("bias") == std::string::npos) << parameter.name;
      const Bytes bytes = static_cast<Bytes>(parameter.elements()) * sizeof(float);
      EXPECT_EQ(own.places[p].bytes, parameter.frozen ? 0 : bytes) << parameter.name;
      EXPECT_EQ(shared.places[p].bytes, parameter.frozen ? bytes : 0) << parameter.name;
    }
    EXPECT_EQ(own.bytes == 0, l == 0);
  }
  spec_ = {};
  const ModelSource trained = open(kBert);
  for (std::size_t p = 0; p < trained.description().layers[1].parameters.size(); ++p)
    EXPECT_EQ(initial(source, 1, p), initial(trained, 1, p)) << "first values do not depend on what is frozen";
}

TEST_F(Source, ALaterUseIsFrozenAsItsOwnerIs) {
  shape_.classes = 0;
  for (const std::int64_t freeze : {0, 1}) {
    spec_.freeze = freeze;
    const ModelSource source = open(kGpt2, ModelTask::causal_lm);
    EXPECT_EQ(source.description().layers.back().parameters.back().frozen, freeze == 1);
    EXPECT_TRUE(source.description().layers.back().trains());
  }
}

TEST_F(Source, RefusesToTrainNothing) {
  spec_.train_only = {"gate", "lora"};
  EXPECT_THAT(refusal(kBert, ModelTask::sequence_classification, ExitCode::usage),
              testing::HasSubstr("has a name that contains gate or lora"));
}

TEST_F(Source, InitialisesAsTheFamilyDoes) {
  const ModelSource source = open(kBert);
  std::vector<float> words = initial(source, 0, 0);
  double squares = 0, sum = 0;
  for (float value : words) squares += value * value, sum += value;
  EXPECT_NEAR(std::sqrt(squares / (49 * 32)), 0.02, 0.001);
  EXPECT_NEAR(sum / (49 * 32), 0, 0.002);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(words[7 * 32 + i], 0) << "the padding token's row";
  for (float value : initial(source, 0, 3)) EXPECT_EQ(value, 1) << "LayerNorm.weight";
  for (float value : initial(source, 0, 4)) EXPECT_EQ(value, 0) << "LayerNorm.bias";
  EXPECT_NE(initial(source, 0, 0, 2), words) << "another seed";
  EXPECT_NE(initial(source, 1, 0), initial(source, 2, 0)) << "another name";
  EXPECT_FALSE(source.from_checkpoint(0, Part::own));
}

TEST_F(Source, FirstValuesAreTheSameOnAnyNumberOfThreads) {
  const ParameterDescription parameter{.name = "words", .shape = {101, 1001}};
  for (const InitialValue& initial : {InitialValue::normal(0.5), InitialValue::uniform(0.5)}) {
    std::vector<float> alone(101 * 1001), together(alone.size());
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    fill_initial(initial, parameter, 3, alone);
    at::set_num_threads(5);
    fill_initial(initial, parameter, 3, together);
    at::set_num_threads(threads);
    EXPECT_EQ(alone, together);
  }
}

TEST_F(Source, Gpt2ScalesResidualProjectionsAndMlpIsLinears) {
  const auto deviation = [](const std::vector<float>& values) {
    double squares = 0;
    for (float value : values) squares += value * value;
    return std::sqrt(squares / static_cast<double>(values.size()));
  };
  const ModelSource gpt2 = open(kGpt2, ModelTask::causal_lm);
  const auto& block = gpt2.description().layers[1].parameters;
  for (std::size_t i = 0; i < block.size(); ++i) {
    if (block[i].shape.size() != 2) continue;
    const double expected = block[i].name.ends_with("c_proj.weight") ? 0.02 / std::sqrt(4) : 0.02;
    EXPECT_NEAR(deviation(initial(gpt2, 1, i)), expected, 0.1 * expected) << block[i].name;
  }
  shape_.tokens = 100;
  shape_.input = DataShape::Input::features;
  const ModelSource mlp = open(kMlp);
  const std::vector<float> weight = initial(mlp, 0, 0);
  EXPECT_LE(*std::max_element(weight.begin(), weight.end()), 0.1f);
  EXPECT_GE(*std::max_element(weight.begin(), weight.end()), 0.099f);
  EXPECT_NEAR(deviation(weight), 0.1 / std::sqrt(3), 0.001);
  EXPECT_NEAR(deviation(initial(mlp, 0, 1)), 0.1 / std::sqrt(3), 0.006) << "the bias, too";
}

TEST_F(Source, InitialisesFromSeveralThreads) {
  const ModelSource source = open(kBert);
  std::vector<float> a, b;
  std::thread one([&] { a = initial(source, 1, 0); }), two([&] { b = initial(source, 1, 0); });
  one.join();
  two.join();
  EXPECT_EQ(a, b);
}

TEST_F(Source, RefusesWhatItDoesNotSupport) {
  EXPECT_THAT(refusal(R"({"model_type":"llama"})"), testing::HasSubstr("supported are: bert, gpt2, mlp"));
  EXPECT_THAT(refusal(R"({"hidden_size":4})"), testing::HasSubstr("model_type"));
  EXPECT_THAT(refusal(R"({"model_type":"bert","hidden_act":"mish"})"), testing::HasSubstr("'mish'"));
  EXPECT_THAT(refusal(R"({"model_type":"bert","position_embedding_type":"relative_key"})"),
              testing::HasSubstr("relative_key"));
  EXPECT_THAT(refusal(R"({"model_type":"bert","hidden_size":-1})"), testing::HasSubstr("hidden_size"));
  EXPECT_THAT(refusal(R"({"model_type":"bert","hidden_size":"wide"})"), testing::HasSubstr("hidden_size"));
  EXPECT_THAT(refusal(R"({"model_type":"bert","hidden_size":1e400})"), testing::Not(testing::IsEmpty()));
  EXPECT_THAT(refusal(R"({"model_type":"bert","hidden_size":33})"), testing::HasSubstr("multiple"));
  EXPECT_THAT(refusal(R"({"model_type":"bert","hidden_dropout_prob":1.5})"), testing::HasSubstr("[0, 1)"));
  EXPECT_THAT(refusal(kGpt2, ModelTask::sequence_classification, ExitCode::usage), testing::HasSubstr("causal-lm"));
  EXPECT_THAT(refusal(kBert, ModelTask::causal_lm, ExitCode::usage), testing::HasSubstr("regression"));
  shape_.input = DataShape::Input::features;
  EXPECT_THAT(refusal(kMlp), testing::HasSubstr("100")) << "16 features";
}

TEST_F(Source, RefusesDataThatTheModelCannotTake) {
  shape_.vocabulary = 51;
  EXPECT_THAT(refusal(kBert), testing::HasSubstr("vocabulary of 51"));
  shape_.vocabulary = 50;
  shape_.tokens = 17;
  EXPECT_THAT(refusal(kBert), testing::HasSubstr("16 positions"));
}

TEST_F(Source, RefusesTheOtherKindOfInput) {
  EXPECT_THAT(refusal(kMlp), testing::HasSubstr("'mlp' takes rows of 'features' but the data have 'input_ids'"));
  shape_.input = DataShape::Input::features;
  EXPECT_THAT(refusal(kBert), testing::HasSubstr("'bert' takes rows of 'input_ids' but the data have 'features'"));
  EXPECT_THAT(refusal(kGpt2, ModelTask::causal_lm), testing::HasSubstr("'gpt2' takes rows of 'input_ids'"));
}

TEST_F(Source, KnowsItsVocabularyAlsoWhereTheConfigLeavesItOut) {
  EXPECT_EQ(open(kBert).vocabulary(), 50);
  EXPECT_EQ(open(R"({"model_type":"bert"})").vocabulary(), 30522);
  EXPECT_EQ(open(R"({"model_type":"gpt2"})", ModelTask::causal_lm).vocabulary(), 50257);
}

TEST_F(Source, RefusesToFreezeTheHead) {
  spec_.freeze = 4;
  EXPECT_THAT(refusal(kBert, ModelTask::sequence_classification, ExitCode::usage), testing::HasSubstr("from 0 to 3"));
  spec_.freeze = 3;
  EXPECT_EQ(open(kBert).frozen_layers(), 3u);
}

TEST_F(Source, OverridesChangeTheConfig) {
  spec_.overrides = {{"dropout", 0.25}, {"num_hidden_layers", 1}};
  const ModelSource source = open(kBert);
  EXPECT_EQ(source.config()["hidden_dropout_prob"], 0.25);
  EXPECT_EQ(source.config()["attention_probs_dropout_prob"], 0.25);
  EXPECT_EQ(source.description().layers.size(), 3u);
  spec_.overrides = {{"hidden_dropout", 0.25}};
  EXPECT_THAT(refusal(kBert, ModelTask::sequence_classification, ExitCode::usage),
              testing::HasSubstr("did you mean 'hidden_dropout_prob'"));
}

TEST_F(Source, RefusesBrokenCheckpoints) {
  const ModelSource source = open(kBert);
  const auto encoder = [](std::vector<TensorToWrite>& tensors) {
    return std::find_if(tensors.begin(), tensors.end(),
                        [](const TensorToWrite& t) { return t.name == "bert.encoder.layer.1.output.dense.weight"; });
  };
  write_weights(source, [&](auto& tensors) { tensors.erase(encoder(tensors)); });
  EXPECT_THAT(refusal(kBert), testing::HasSubstr("bert.encoder.layer.1.output.dense.weight is missing"));
  write_weights(source, [&](auto& tensors) { encoder(tensors)->shape = {64, 32}; });
  EXPECT_THAT(refusal(kBert), testing::HasSubstr("[64, 32] but config and data give [32, 64]"));
  write_weights(source, [&](auto& tensors) { encoder(tensors)->dtype = Dtype::i32; });
  EXPECT_THAT(refusal(kBert), testing::HasSubstr("is I32"));
  write_weights(source, [&](auto& tensors) { tensors.resize(tensors.size() - 4); });
  EXPECT_FALSE(open(kBert).from_checkpoint(3, Part::own)) << "head and pooler may be new";
  EXPECT_TRUE(open(kBert).from_checkpoint(2, Part::own));
}

TEST_F(Source, ReadsOldNamesAndHalfPrecision) {
  const ModelSource source = open(kBert);
  write_weights(source, [](auto& tensors) {
    for (TensorToWrite& tensor : tensors) {
      tensor.dtype = Dtype::bf16;
      if (const auto norm = tensor.name.find("LayerNorm."); norm != std::string::npos)
        tensor.name =
            tensor.name.substr(5, norm - 5) + (tensor.name.ends_with("weight") ? "LayerNorm.gamma" : "LayerNorm.beta");
    }
  });
  const ModelSource loaded = open(kBert);
  for (float value : initial(loaded, 0, 3)) EXPECT_EQ(value, 0) << "gamma of the file, not a new one";
}

MetricSums judged(const ModelSource& source, const at::Tensor& logits, const Batch& batch) {
  Judge judge(source);
  judge.add(logits, batch);
  return judge.read().sums;
}

TEST_F(Source, JudgesClassificationRegressionAndNextTokens) {
  const Batch batch{at::zeros({3, 16}, at::kLong), {}, at::tensor({0, 1, 2}, at::kLong)};
  const at::Tensor logits = at::tensor({9.0, 0.0, 0.0, 0.0, 9.0, 0.0, 9.0, 0.0, 0.0}).to(at::kFloat).view({3, 3});
  MetricSums sums = judged(open(kBert), logits, batch);
  const double sure = std::log(1 + 2 * std::exp(-9)), wrong = 9 + sure;
  EXPECT_EQ(sums.correct, 2);
  EXPECT_NEAR(sums.loss, 2 * sure + wrong, 1e-5);
  sums.add(sums);
  EXPECT_EQ(sums.items, 6);
  EXPECT_NEAR(ModelSource::metric(sums, "valid/accuracy"), 2 / 3.0, 1e-9);
  EXPECT_NEAR(ModelSource::metric(sums, "valid/perplexity"), std::exp((2 * sure + wrong) / 3), 1e-4);
  EXPECT_THAT(failure_of(ExitCode::usage, [&] { ModelSource::metric(sums, "valid/f1"); }),
              testing::HasSubstr("valid/loss"));

  const Batch values{at::zeros({2, 16}, at::kLong), {}, at::tensor({1.0, 2.0}).to(at::kFloat)};
  const MetricSums error = judged(open(kBert, ModelTask::regression), at::zeros({2, 1}), values);
  EXPECT_EQ(ModelSource::metric(error, "valid/mse"), 2.5);

  const ModelSource gpt2 = open(kGpt2, ModelTask::causal_lm);
  const Batch tokens{at::arange(16).view({1, 16}), {}, {}};
  at::Tensor next = at::zeros({1, 16, 50});
  for (int i = 0; i < 10; ++i) next[0][i][i + 1] = 5;  // ten of fifteen
  const MetricSums predicted = judged(gpt2, next, tokens);
  EXPECT_EQ(predicted.items, 15);
  EXPECT_EQ(predicted.correct, 10);
}

TEST_F(Source, ExportsConfigLabelsAndTokenizer) {
  folder_.write("tokenizer.json", "{}");
  const ModelSource source = open(kBert);
  const std::string out = folder_ / "out/deep";
  source.export_to(out, [&](std::uint32_t layer, Part part, std::span<std::byte> buffer) {
    source.initialise(layer, part, 1, buffer);
  });
  const Json config = read_json(out + "/config.json");
  EXPECT_EQ(config["architectures"][0], "BertForSequenceClassification");
  EXPECT_EQ(config["id2label"]["2"], "c");
  EXPECT_EQ(config["label2id"]["b"], 1);
  EXPECT_EQ(config["hidden_size"], 32);
  EXPECT_TRUE(std::filesystem::exists(out + "/tokenizer.json"));

  ModelSpec again = spec_;
  again.checkpoint = out;
  const ModelSource loaded(again, shape_);
  for (std::uint32_t layer = 0; layer < 4; ++layer)
    EXPECT_EQ(initial(loaded, layer, 0, 99), initial(source, layer, 0, 1));
}

}  // namespace
}  // namespace hopyard
