#include "model/layer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <thread>

#include "fakes/temporary_folder.h"
#include "fakes/whole_model.h"
#include "pipeline/shard_compute.h"

namespace hopyard {
namespace {

using fakes::WholeModel;

/// A user's own module, with a submodule that registers its parameter itself.
struct Scale : torch::nn::Module {
  Scale() : factor(register_parameter("factor", at::full({1}, 7.0))) {}
  at::Tensor factor;
};

struct UserLayer : Layer {
  UserLayer() : scale(register_module("scale", std::make_shared<Scale>())) {
    description_.name = "user";
    declare({"user.bias", {2}});
    declare({"user.factor", {1}}, scale->factor);
  }
  at::Tensor forward(const at::Tensor& x, const Batch&, const Pass&) override {
    return x * scale->factor + parameter(0);
  }
  std::shared_ptr<Scale> scale;
};

TEST(Layer, BindReachesAUsersOwnMembers) {
  UserLayer layer;
  at::Tensor bias = at::ones({2}), factor = at::full({1}, 3.0);
  layer.bind(std::vector<at::Tensor>{bias, factor}, true);
  const at::Tensor x = at::ones({2});
  const at::Tensor y = layer.forward(x, {}, {});
  EXPECT_TRUE(y.equal(at::full({2}, 4.0)));
  y.sum().backward();
  EXPECT_EQ(layer.bound()[1].grad().item<double>(), 2);
  EXPECT_EQ(layer.scale->factor.const_data_ptr(), factor.const_data_ptr()) << "a view, not a copy";
  EXPECT_EQ(layer.parameters().size(), 2u);
}

TEST(Layer, EachBindIsAFreshLeaf) {
  UserLayer layer;
  const std::vector<at::Tensor> views{at::ones({2}), at::ones({1})};
  layer.bind(views, true);
  layer.forward(at::ones({2}), {}, {}).sum().backward();
  layer.bind(views, true);
  EXPECT_FALSE(layer.bound()[0].grad().defined());
  EXPECT_TRUE(layer.bound()[0].is_leaf());
  layer.bind(views, false);
  EXPECT_FALSE(layer.forward(at::ones({2}), {}, {}).requires_grad());
  layer.unbind();
  EXPECT_EQ(layer.bound()[0].numel(), 0);
  EXPECT_EQ(views[0].use_count(), 1u);
  EXPECT_EQ(views[0].storage().use_count(), 1u) << "unbind lets the memory go";
}

TEST(Layer, BindRefusesWhatWasNotDeclared) {
  UserLayer layer;
  EXPECT_THROW(layer.bind(std::vector<at::Tensor>{at::ones({2})}, true), std::logic_error);
  EXPECT_THROW(layer.bind(std::vector<at::Tensor>{at::ones({3}), at::ones({1})}, true), std::logic_error);
}

Pass pass_of(std::uint64_t key, std::uint32_t layer = 0) {
  return {true, key, layer, at::detail::createCPUGenerator()};
}

TEST(Dropout, FollowsFromTheKeyAlone) {
  const at::Tensor ones = at::ones({100, 100});
  const Pass pass = pass_of(1);
  const at::Tensor first = dropout(ones, 0.1, pass, 0);
  dropout(ones, 0.5, pass, 1);
  EXPECT_TRUE(dropout(ones, 0.1, pass, 0).equal(first)) << "equal whenever it is recomputed";
  EXPECT_TRUE(dropout(ones, 0.1, pass_of(1), 0).equal(first)) << "on another device too";
  EXPECT_FALSE(dropout(ones, 0.1, pass, 1).equal(first));
  EXPECT_FALSE(dropout(ones, 0.1, pass_of(2), 0).equal(first));
  EXPECT_FALSE(dropout(ones, 0.1, pass_of(1, 1), 0).equal(first));
  EXPECT_NE(pass_key(1, 0, 1), pass_key(1, 1, 0));
}

TEST(Dropout, KeepsTheMeanAndTheShare) {
  const at::Tensor dropped = dropout(at::ones({1000, 1000}), 0.25, pass_of(3), 0);
  EXPECT_NEAR(dropped.mean().item<double>(), 1, 0.005);
  EXPECT_NEAR(dropped.eq(0).to(at::kFloat).mean().item<double>(), 0.25, 0.003);
  EXPECT_FLOAT_EQ(dropped.max().item<float>(), 1 / 0.75f);
}

TEST(Dropout, IsNothingInEvaluationAndEverythingAtOne) {
  const at::Tensor x = at::ones({8});
  EXPECT_TRUE(dropout(x, 0.5, Pass{}, 0).is_same(x));
  EXPECT_TRUE(dropout(x, 0, pass_of(1), 0).is_same(x));
  EXPECT_EQ(dropout(x, 1, pass_of(1), 0).sum().item<double>(), 0);
  EXPECT_THROW((Pass{true, 1, 0, {}}.draws(0)), std::logic_error) << "no generator";
}

TEST(Dropout, MaskOfAPlaceKnowsNoThreadsAndNoSize) {
  const at::Tensor large = at::empty({300'001});
  at::set_num_threads(1);
  const at::Tensor mask = dropout_mask(large, 0.3, pass_of(4), 0);
  EXPECT_TRUE(mask.slice(0, 0, 9).equal(dropout_mask(at::empty({9}), 0.3, pass_of(4), 0)));
  at::set_num_threads(2);
  EXPECT_TRUE(mask.equal(dropout_mask(large, 0.3, pass_of(4), 0)));
  const at::Tensor kept = mask.gt(0).to(at::kFloat) - 0.7f;
  for (const std::int64_t lag : {1, 2, 3, 384})
    EXPECT_NEAR((kept.slice(0, lag) * kept.slice(0, 0, -lag)).mean().item<double>(), 0, 0.002) << "neighbours " << lag;
}

TEST(Dropout, MaskOfHalfTheSizeIsTheFloatMaskRounded) {
  for (const double p : {0.1, 0.3, 0.5, 0.9})
    for (const std::int64_t size : {1, 7, 4097}) {
      const at::Tensor exact = dropout_mask(at::empty({size}), p, pass_of(4), 0);
      for (const auto type : {at::kBFloat16, at::kHalf}) {
        const at::Tensor rounded = dropout_mask(at::empty({size}, type), p, pass_of(4), 0);
        EXPECT_EQ(rounded.scalar_type(), type);
        EXPECT_TRUE(rounded.equal(exact.to(type))) << p << " " << size;
      }
    }
}

TEST(Dropout, TinyMasksOfTwoThreadsDoNotMix) {
  constexpr std::uint64_t kMasks = 10'000;
  const at::Tensor like = at::empty({5});
  std::vector<at::Tensor> expected;
  const auto mask = [&](Pass& pass, std::uint64_t key) {
    pass.key = key;
    return at::empty({5}).bernoulli_(0.5, pass.draws(0)).add_(dropout_mask(like, 0.5, pass, 0));
  };
  Pass reference = pass_of(0);
  for (std::uint64_t key = 0; key < kMasks; ++key) expected.push_back(mask(reference, key));
  std::atomic<int> wrong = 0;
  const auto run = [&] {
    Pass pass = pass_of(0);
    for (std::uint64_t key = 0; key < kMasks; ++key) wrong += !mask(pass, key).equal(expected[key]);
  };
  std::thread one(run), two(run);
  one.join();
  two.join();
  EXPECT_EQ(wrong, 0);
}

struct Family {
  const char* name;
  const char* config;
  ModelTask task;
  AdapterSpec adapter = {};
};

const AdapterSpec kLora{.kind = AdapterSpec::Kind::lora, .rank = 4, .dropout = 0.2, .targets = {"all"}};
const AdapterSpec kBottleneck{.kind = AdapterSpec::Kind::bottleneck, .size = 6};

const Family kFamilies[] = {
    {"bert", R"({"model_type":"bert","vocab_size":50,"hidden_size":32,"num_hidden_layers":2,"num_attention_heads":4,
                 "intermediate_size":64,"max_position_embeddings":16})",
     ModelTask::sequence_classification},
    {"gpt2", R"({"model_type":"gpt2","vocab_size":50,"n_embd":32,"n_layer":2,"n_head":4,"n_positions":16})",
     ModelTask::causal_lm},
    {"mlp", R"({"model_type":"mlp","input_size":16,"hidden_sizes":[40,24],"activation":"gelu","dropout":0.1})",
     ModelTask::regression},
    {"bert_lora",
     R"({"model_type":"bert","vocab_size":50,"hidden_size":32,"num_hidden_layers":2,"num_attention_heads":4,
         "intermediate_size":64,"max_position_embeddings":16})",
     ModelTask::sequence_classification, kLora},
    {"gpt2_lora", R"({"model_type":"gpt2","vocab_size":50,"n_embd":32,"n_layer":2,"n_head":4,"n_positions":16})",
     ModelTask::causal_lm, kLora},
    {"gpt2_bottleneck", R"({"model_type":"gpt2","vocab_size":50,"n_embd":32,"n_layer":2,"n_head":4,"n_positions":16})",
     ModelTask::causal_lm, kBottleneck},
};

class Bits : public testing::TestWithParam<std::tuple<Family, int, Precision>> {
 protected:
  Bits() {
    at::set_num_threads(std::get<1>(GetParam()));
    const Family& family = std::get<0>(GetParam());
    folder_.write("config.json", family.config);
    ModelSpec spec;
    spec.checkpoint = folder_.path();
    spec.task = family.task;
    spec.adapter = family.adapter;
    const bool features = std::string(family.name) == "mlp";
    DataShape shape{.tokens = 16, .classes = 3};
    if (features) shape.input = DataShape::Input::features;
    source_ = std::make_unique<ModelSource>(spec, shape);
    model_ = std::make_unique<WholeModel>(*source_, 11, OptimizerSpec{}, precision());
    batch_.inputs = features ? at::randn({6, 16}) : at::randint(0, 50, {6, 16}, at::kLong);
    batch_.labels = family.task == ModelTask::regression ? at::randn({6}) : at::randint(0, 3, {6}, at::kLong);
    if (!features) batch_.attention_mask = at::arange(16).lt(at::arange(3, 9).unsqueeze(1)).to(at::kLong);
  }

  static Precision precision() { return std::get<2>(GetParam()); }

  fakes::TemporaryFolder folder_;
  std::unique_ptr<ModelSource> source_;
  std::unique_ptr<WholeModel> model_;
  Batch batch_;
};

TEST_P(Bits, AreEqualWithAndWithoutAGraph) {
  for (const bool train : {false, true}) {
    const at::Tensor with_graph = model_->forward(batch_, train, 5);
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(with_graph.requires_grad());
    EXPECT_TRUE(model_->forward(batch_, train, 5).equal(with_graph)) << (train ? "dropout on" : "dropout off");
  }
  EXPECT_FALSE(model_->forward(batch_, true, 6).equal(model_->forward(batch_, true, 5))) << "dropout is on";
}

TEST_P(Bits, OfGradientsAreEqualWhenEachLayerIsRecomputedFromItsInput) {
  constexpr std::uint64_t kKey = 9;
  source_->loss(model_->forward(batch_, true, kKey), batch_).sum.backward();
  const std::size_t count = source_->description().layers.size();
  std::vector<std::vector<at::Tensor>> whole;
  for (std::uint32_t i = 0; i < count; ++i) {
    whole.emplace_back();
    for (at::Tensor parameter : model_->module(i).bound()) {
      whole[i].push_back(parameter.grad());
      parameter.mutable_grad().reset();
    }
  }

  const at::Generator generator = at::detail::createCPUGenerator();
  const auto pass = [&](std::uint32_t layer) {
    return Pass{source_->description().layers[layer].trains(), kKey, layer, generator};
  };
  std::vector<at::Tensor> inputs{at::Tensor()};
  {
    const at::NoGradGuard no_grad;
    for (std::uint32_t i = 0; i + 1 < count; ++i)
      inputs.push_back(model_->module(i).forward(inputs[i], batch_, pass(i)));
  }
  at::Tensor gradient;
  for (std::uint32_t i = static_cast<std::uint32_t>(count); i-- > source_->frozen_layers();) {
    if (inputs[i].defined()) inputs[i].set_requires_grad(true);
    const at::Tensor output = model_->module(i).forward(inputs[i], batch_, pass(i));
    if (i + 1 == count)
      source_->loss(output, batch_).sum.backward();
    else
      output.backward(gradient);
    if (inputs[i].defined()) gradient = inputs[i].grad();
    for (std::size_t p = 0; p < whole[i].size(); ++p) {
      EXPECT_EQ(whole[i][p].defined(), !source_->description().layers[i].parameters[p].frozen);
      if (!whole[i][p].defined()) continue;
      EXPECT_TRUE(model_->module(i).bound()[p].grad().equal(whole[i][p]))
          << source_->description().layers[i].parameters[p].name;
    }
  }
}

TEST_P(Bits, AreOfOneTypeFromLayerToLayer) {
  const at::ScalarType type = compute_type(precision());
  const at::Generator generator = at::detail::createCPUGenerator();
  for (const bool masked : {true, false}) {
    if (!masked) batch_.attention_mask.reset();
    at::Tensor x;
    const auto count = static_cast<std::uint32_t>(source_->description().layers.size());
    for (std::uint32_t i = 0; i < count; ++i) {
      x = model_->module(i).forward(x, batch_, Pass{true, 3, i, generator});
      EXPECT_EQ(x.scalar_type(), type) << source_->description().layers[i].name;
    }
    EXPECT_TRUE(x.isfinite().all().item<bool>());
    EXPECT_EQ(source_->loss(x, batch_).sum.scalar_type(), at::kFloat);
  }
}

TEST_P(Bits, OfTrainingRepeat) {
  const std::vector<Batch> batches{batch_, batch_};
  WholeModel other(*source_, 11, OptimizerSpec{}, precision());
  WholeModel another_seed(*source_, 12, OptimizerSpec{}, precision());
  const Digest start = model_->digest();
  EXPECT_EQ(other.digest(), start);
  EXPECT_NE(another_seed.digest(), start);
  for (std::uint64_t step = 0; step < 3; ++step)
    EXPECT_EQ(model_->train_step(batches, 1e-3, 1.0, step), other.train_step(batches, 1e-3, 1.0, step));
  EXPECT_EQ(other.digest(), model_->digest());
  EXPECT_NE(start, model_->digest());
}

INSTANTIATE_TEST_SUITE_P(Families, Bits,
                         testing::Combine(testing::ValuesIn(kFamilies), testing::Values(1, 2),
                                          testing::Values(Precision::fp32, Precision::bf16, Precision::fp16)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) + "_" +
                                  std::to_string(std::get<1>(info.param)) + "_threads_" +
                                  to_string(std::get<2>(info.param));
                         });

}  // namespace
}  // namespace hopyard
