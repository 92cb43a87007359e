// LoRA against peft: tests/oracle/peft_cases.py computes what is expected here, load_peft.py loads what is exported.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cstring>

#include "fakes/oracle.h"
#include "fakes/temporary_folder.h"
#include "fakes/whole_model.h"

namespace hopyard {
namespace {

using fakes::OracleTensors;
using fakes::WholeModel;

struct Case {
  std::string name;
  ModelTask task = ModelTask::sequence_classification;
  std::int64_t classes = 5;
  std::int64_t freeze = 0;
};

std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

/// Here peft trains the pooler too, as Hopyard does.
const std::vector<Case> kTrainedAlike = {{"bert-query-value"},
                                         {"bert-all"},
                                         {"gpt2-attention", ModelTask::causal_lm, 0},
                                         {"gpt2-all", ModelTask::causal_lm, 0}};

const std::vector<Case>& all_cases() {
  static const std::vector<Case> cases = [] {
    std::vector<Case> all = kTrainedAlike;
    all.push_back({"bert-top-layers", ModelTask::sequence_classification, 5, 2});
    return all;
  }();
  return cases;
}

/// The cases' folders; the script runs once.
const std::string& cases_folder() {
  static const fakes::TemporaryFolder folder;
  static const bool ran = [] {
    at::set_num_threads(1);
    fakes::run_oracle("peft_cases.py", {folder.path()});
    return true;
  }();
  (void)ran;
  return folder.path();
}

std::string folder_of(const Case& one) { return cases_folder() + "/" + one.name; }
OracleTensors expected_of(const Case& one) { return OracleTensors(folder_of(one) + "/expected.safetensors"); }

/// Begins with the adapter that peft made.
ModelSource source_of(const Case& one) {
  ModelSpec spec;
  spec.checkpoint = folder_of(one) + "/model";
  spec.task = one.task;
  spec.freeze = one.freeze;
  spec.overrides = {{"dropout", 0}};
  spec.adapter.kind = AdapterSpec::Kind::lora;
  spec.adapter.from = folder_of(one) + "/adapter";
  spec.adapter.dropout = 0;
  DataShape shape;
  shape.tokens = expected_of(one).batch().inputs.size(1);
  shape.classes = one.classes;
  return ModelSource(spec, shape);
}

double difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

/// Calls check(name, layer, parameter) for each parameter that both sides train. Returns how many.
template <class Check>
int for_each_trained(const ModelSource& source, const OracleTensors& expected, const Check& check) {
  int count = 0;
  const auto& layers = source.description().layers;
  for (std::uint32_t layer = 0; layer < layers.size(); ++layer)
    for (std::size_t i = 0; i < layers[layer].parameters.size(); ++i) {
      const ParameterDescription& parameter = layers[layer].parameters[i];
      EXPECT_FALSE(parameter.frozen && expected.has("grad." + parameter.name)) << parameter.name;
      if (parameter.frozen || !expected.has("grad." + parameter.name)) continue;
      check(parameter.name, layer, i);
      ++count;
    }
  return count;
}

class AgainstPeft : public testing::TestWithParam<Case> {};

TEST_P(AgainstPeft, LogitsLossAndGradientsAgree) {
  const OracleTensors expected = expected_of(GetParam());
  const ModelSource source = source_of(GetParam());
  WholeModel model(source, 3, {});
  const Batch batch = expected.batch();
  EXPECT_LE(difference(model.logits(batch), expected["logits"]), 1e-5);
  const LossSum loss = source.loss(model.forward(batch, /*train=*/true, 0), batch);
  const at::Tensor mean = loss.sum / static_cast<double>(loss.items);
  EXPECT_NEAR(mean.item<double>(), expected["loss"].item<double>(), 1e-5);
  mean.backward();
  const int count =
      for_each_trained(source, expected, [&](const std::string& name, std::uint32_t layer, std::size_t i) {
        EXPECT_LE(difference(model.module(layer).bound()[i].grad(), expected["grad." + name]), 1e-5) << name;
      });
  EXPECT_GE(count, 6);
}

class TrainingAgainstPeft : public AgainstPeft {};

TEST_P(TrainingAgainstPeft, TenAdamwStepsAgree) {
  const OracleTensors expected = expected_of(GetParam());
  const ModelSource source = source_of(GetParam());
  const OptimizerSpec optimizer;
  WholeModel model(source, 3, optimizer);
  const Batch whole = expected.batch();
  std::vector<Batch> micro_batches;
  for (const auto& [begin, end] : {std::pair<std::int64_t, std::int64_t>{0, 1}, {1, whole.inputs.size(0)}}) {
    Batch part{whole.inputs.slice(0, begin, end), whole.attention_mask.slice(0, begin, end), {}};
    if (whole.labels.defined()) part.labels = whole.labels.slice(0, begin, end);
    micro_batches.push_back(part);
  }
  for (std::uint64_t step = 0; step < 10; ++step) model.train_step(micro_batches, optimizer.lr, std::nullopt, step);
  for_each_trained(source, expected, [&](const std::string& name, std::uint32_t layer, std::size_t i) {
    EXPECT_LE(difference(model.module(layer).bound()[i].detach(), expected["trained." + name]), 1e-4) << name;
  });
}

std::string test_name(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Cases, AgainstPeft, testing::ValuesIn(all_cases()), test_name);
INSTANTIATE_TEST_SUITE_P(Cases, TrainingAgainstPeft, testing::ValuesIn(kTrainedAlike), test_name);

TEST(PeftExport, LoadsInPeftWithTheSameLogits) {
  const fakes::TemporaryFolder out;
  std::vector<std::string> arguments;
  std::vector<at::Tensor> logits;
  for (const Case& one : all_cases()) {
    const ModelSource source = source_of(one);
    WholeModel model(source, 3, {});
    const std::vector<Batch> batch{expected_of(one).batch()};
    for (std::uint64_t step = 0; step < 3; ++step) model.train_step(batch, 1e-3, std::nullopt, step);
    logits.push_back(model.logits(batch[0]));
    source.export_to(out / one.name, [&](std::uint32_t layer, Part part, std::span<std::byte> buffer) {
      std::memcpy(buffer.data(), model.flat(layer, part).data(), buffer.size());
    });
    arguments.insert(arguments.end(), {one.classes > 0 ? "AutoModelForSequenceClassification" : "AutoModelForCausalLM",
                                       folder_of(one) + "/model", std::to_string(one.classes), out / one.name,
                                       folder_of(one) + "/expected.safetensors", out / one.name + ".safetensors"});
  }
  fakes::run_oracle("load_peft.py", arguments);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const std::string& name = all_cases()[i].name;
    EXPECT_LE(difference(OracleTensors(out / name + ".safetensors")["logits"], logits[i]), 1e-5) << name;
  }
}

}  // namespace
}  // namespace hopyard
