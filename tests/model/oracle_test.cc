// Models against transformers and PyTorch: tests/oracle/cases.py computes what is expected here.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <map>

#include "fakes/oracle.h"
#include "fakes/temporary_folder.h"
#include "fakes/whole_model.h"

namespace hopyard {
namespace {

using fakes::OracleTensors;
using fakes::WholeModel;

const std::string kMiniLm = HOPYARD_SOURCE "/data/all-MiniLM-L6-v2";
constexpr std::uint64_t kSeed = 3;

struct Case {
  std::string name;
  ModelTask task = ModelTask::sequence_classification;
  std::int64_t classes = 0;
  std::optional<double> clip;
  double layer_decay = 1;
};

std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

/// The cases' folders; the script runs once.
const std::string& cases_folder() {
  static const fakes::TemporaryFolder folder;
  static const bool ran = [] {
    at::set_num_threads(1);
    fakes::run_oracle("cases.py", {kMiniLm, folder.path()});
    return true;
  }();
  (void)ran;
  return folder.path();
}

std::string model_folder(const Case& one) { return cases_folder() + "/" + one.name + "/model"; }

OracleTensors expected_of(const Case& one) {
  return OracleTensors(cases_folder() + "/" + one.name + "/expected.safetensors");
}

ModelSpec spec_of(const Case& one, double dropout = 0) {
  ModelSpec spec;
  spec.checkpoint = model_folder(one);
  spec.task = one.task;
  spec.overrides = {{"dropout", dropout}};
  return spec;
}

DataShape shape_of(const Case& one) {
  DataShape shape;
  shape.tokens = expected_of(one).batch().inputs.size(1);
  shape.classes = one.classes;
  if (!expected_of(one).batch().inputs.is_floating_point()) return shape;
  shape.input = DataShape::Input::features;
  return shape;
}

double difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

/// Calls check(name, tensor of the model, index of layer, index of parameter) for each owned parameter.
template <class Check>
void for_each_parameter(const ModelSource& source, Check&& check) {
  const auto& layers = source.description().layers;
  for (std::uint32_t i = 0; i < layers.size(); ++i)
    for (std::size_t p = 0; p < layers[i].parameters.size(); ++p)
      if (!layers[i].parameters[p].tied_to) check(layers[i].parameters[p].name, i, p);
}

const Case kMini{"minilm", ModelTask::sequence_classification, 16};
const Case kBertPadded{"bert-padded", ModelTask::sequence_classification, 5};
const Case kBertLayerDecay{"bert-layer-decay", ModelTask::sequence_classification, 5, std::nullopt, 0.9};
const Case kGpt2Tied{"gpt2-tied", ModelTask::causal_lm, 0, 0.5};
const Case kGpt2Untied{"gpt2-untied", ModelTask::causal_lm};
const Case kMlp{"mlp", ModelTask::sequence_classification, 4};
const Case kBertRegression{"bert-regression", ModelTask::regression};

class AgainstTransformers : public testing::TestWithParam<Case> {};

void check_forward_and_backward(const Case& one, double dropout) {
  const OracleTensors expected = expected_of(one);
  const ModelSource source(spec_of(one, dropout), shape_of(one));
  WholeModel model(source, kSeed, {});
  const Batch batch = expected.batch();
  EXPECT_LE(difference(model.logits(batch), expected["logits"]), 1e-5);

  const LossSum loss = source.loss(model.forward(batch, /*train=*/true, 0), batch);
  const at::Tensor mean = loss.sum / static_cast<double>(loss.items);
  EXPECT_NEAR(mean.item<double>(), expected["loss"].item<double>(), 1e-5);
  mean.backward();
  model.add_tied_gradients();
  for_each_parameter(source, [&](const std::string& name, std::uint32_t layer, std::size_t parameter) {
    EXPECT_LE(difference(model.module(layer).bound()[parameter].grad(), expected["grad." + name]), 1e-5) << name;
  });
}

TEST_P(AgainstTransformers, LogitsLossAndGradientsAgree) { check_forward_and_backward(GetParam(), 0); }

TEST_P(AgainstTransformers, DropoutThatDropsNothingAgreesToo) { check_forward_and_backward(GetParam(), 1e-12); }

INSTANTIATE_TEST_SUITE_P(Cases, AgainstTransformers,
                         testing::Values(kMini, kBertPadded,
                                         Case{"bert-gelu-new", ModelTask::sequence_classification, 3}, kBertRegression,
                                         kGpt2Tied, Case{"gpt2-padded", ModelTask::causal_lm}, kGpt2Untied, kMlp),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class TrainingAgainstPyTorch : public testing::TestWithParam<Case> {};

/// A key's bias shifts all scores of a query alike, which softmax cancels: its gradient is rounding, which AdamW scales
/// up to steps in directions of chance. GPT-2 keeps it in the middle of one parameter.
at::Tensor without_key_bias(const std::string& name, const at::Tensor& parameter) {
  if (!name.ends_with("c_attn.bias")) return parameter;
  const std::int64_t third = parameter.numel() / 3;
  return at::cat({parameter.narrow(0, 0, third), parameter.narrow(0, 2 * third, third)});
}

TEST_P(TrainingAgainstPyTorch, TwentyAdamwStepsAgree) {
  const OracleTensors expected = expected_of(GetParam());
  const ModelSource source(spec_of(GetParam()), shape_of(GetParam()));
  OptimizerSpec optimizer;
  optimizer.layer_decay = GetParam().layer_decay;
  WholeModel model(source, kSeed, optimizer);
  // Unequal micro-batches: the loss is a mean over the whole batch all the same.
  const Batch whole = expected.batch();
  std::vector<Batch> micro_batches;
  for (const auto& [begin, end] : {std::pair<std::int64_t, std::int64_t>{0, 1}, {1, whole.inputs.size(0)}}) {
    Batch part{whole.inputs.slice(0, begin, end), {}, {}};
    if (whole.attention_mask.defined()) part.attention_mask = whole.attention_mask.slice(0, begin, end);
    if (whole.labels.defined()) part.labels = whole.labels.slice(0, begin, end);
    micro_batches.push_back(part);
  }
  for (std::uint64_t step = 0; step < 20; ++step) model.train_step(micro_batches, optimizer.lr, GetParam().clip, step);

  const auto& layers = source.description().layers;
  for_each_parameter(source, [&](const std::string& name, std::uint32_t layer, std::size_t parameter) {
    const at::Tensor trained = model.module(layer).bound()[parameter].detach();
    const at::Tensor before = OracleTensors(model_folder(GetParam()) + "/model.safetensors")[name];
    const at::Tensor after = expected["trained." + name];
    if (name.ends_with("key.bias")) return;
    EXPECT_LE(difference(without_key_bias(name, trained), without_key_bias(name, after)), 1e-4) << name;
    EXPECT_GE(difference(before, after), 5e-3)
        << name << " of " << layers[layer].name << " hardly moved: tests nothing";
  });
}

INSTANTIATE_TEST_SUITE_P(Cases, TrainingAgainstPyTorch, testing::Values(kBertPadded, kBertLayerDecay, kGpt2Tied, kMlp),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Checkpoint, OfBertModelWithoutPrefixGivesTheSameWeights) {
  ModelSpec bare = spec_of(kMini);
  bare.checkpoint = kMiniLm;
  const ModelSource with_prefix(spec_of(kMini), shape_of(kMini)), without(bare, shape_of(kMini));
  const std::uint32_t head = static_cast<std::uint32_t>(without.description().layers.size()) - 1;
  for (std::uint32_t i = 0; i < head; ++i) {
    const fakes::FlatBuffer a(layout_of(without.description().layers[i], Part::own).bytes), b(a.bytes().size());
    with_prefix.initialise(i, Part::own, 1, a.bytes());
    without.initialise(i, Part::own, 2, b.bytes());
    EXPECT_EQ(digest_bytes(a.bytes()), digest_bytes(b.bytes())) << i;
    EXPECT_TRUE(without.from_checkpoint(i, Part::own));
  }
  EXPECT_TRUE(with_prefix.from_checkpoint(head, Part::own));
  EXPECT_FALSE(without.from_checkpoint(head, Part::own)) << "the classifier is new";
}

TEST(Export, LoadsInTransformersWithTheSameLogits) {
  const std::vector<std::pair<Case, std::string>> cases = {{kMini, "AutoModelForSequenceClassification"},
                                                           {kBertRegression, "AutoModelForSequenceClassification"},
                                                           {kGpt2Tied, "AutoModelForCausalLM"},
                                                           {kGpt2Untied, "AutoModelForCausalLM"}};
  const fakes::TemporaryFolder out;
  std::vector<std::string> arguments;
  std::vector<at::Tensor> logits;
  for (const auto& [one, class_name] : cases) {
    const ModelSource source(spec_of(one), shape_of(one));
    WholeModel model(source, kSeed, {});
    const std::vector<Batch> batch{expected_of(one).batch()};
    model.train_step(batch, 1e-3, std::nullopt, 0);
    logits.push_back(model.logits(batch[0]));
    source.export_to(out / one.name, [&](std::uint32_t layer, Part part, std::span<std::byte> buffer) {
      std::memcpy(buffer.data(), model.flat(layer, part).data(), buffer.size());
    });
    arguments.insert(arguments.end(),
                     {class_name, out / one.name, cases_folder() + "/" + one.name + "/expected.safetensors",
                      out / one.name + ".safetensors"});
  }
  fakes::run_oracle("load_export.py", arguments);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const OracleTensors loaded(out / cases[i].first.name + ".safetensors");
    EXPECT_LE(difference(loaded["logits"], logits[i]), 1e-5) << cases[i].first.name;
  }
}

}  // namespace
}  // namespace hopyard
