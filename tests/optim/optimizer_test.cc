#include "optim/optimizer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace hopyard {
namespace {

using Values = std::vector<double>;

at::Tensor tensor_of(const Values& values) { return at::tensor(values, at::kDouble).to(at::kFloat); }

void expect_near(const at::Tensor& tensor, const Values& expected) {
  ASSERT_EQ(static_cast<std::size_t>(tensor.numel()), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(tensor[i].item<double>(), expected[i], 1e-6) << i;
}

/// Loshchilov, Hutter 2019, algorithm 2, in double.
void adamw_formula(const OptimizerSpec& spec, double decay, int step, double gradient, double& p, double& m,
                   double& v) {
  p -= spec.lr * decay * p;
  m = spec.beta1 * m + (1 - spec.beta1) * gradient;
  v = spec.beta2 * v + (1 - spec.beta2) * gradient * gradient;
  const double m_hat = m / (1 - std::pow(spec.beta1, step)), v_hat = v / (1 - std::pow(spec.beta2, step));
  p -= spec.lr * m_hat / (std::sqrt(v_hat) + spec.eps);
}

ParameterUpdate update_of(const Values& parameter, const Values& gradient, bool decays) {
  const at::Tensor p = tensor_of(parameter);
  return {p, tensor_of(gradient), {at::zeros_like(p), at::zeros_like(p)}, decays};
}

TEST(Adamw, FollowsTheFormulaWithDecayOnlyWhereTold) {
  OptimizerSpec spec;
  spec.lr = 0.1;
  spec.weight_decay = 0.5;
  const Values start = {1, -2, 3}, gradient = {0.5, -0.25, 1e-4};
  for (const bool decay_all : {false, true}) {
    spec.decay_all = decay_all;
    std::vector<ParameterUpdate> updates = {update_of(start, gradient, true), update_of(start, gradient, false)};
    Values p[2] = {start, start}, m[2] = {{0, 0, 0}, {0, 0, 0}}, v[2] = {{0, 0, 0}, {0, 0, 0}};
    for (int step = 1; step <= 3; ++step) {
      update(spec, spec.lr, step, updates);
      for (int k = 0; k < 2; ++k)
        for (int i = 0; i < 3; ++i)
          adamw_formula(spec, k == 0 || decay_all ? spec.weight_decay : 0, step, gradient[i], p[k][i], m[k][i],
                        v[k][i]);
    }
    for (int k = 0; k < 2; ++k) {
      expect_near(updates[k].parameter, p[k]);
      expect_near(updates[k].moments[0], m[k]);
      expect_near(updates[k].moments[1], v[k]);
    }
  }
}

TEST(Sgd, FollowsTheFormulaWithAndWithoutMomentum) {
  for (const double momentum : {0.0, 0.9}) {
    OptimizerSpec spec;
    spec.kind = OptimizerSpec::Kind::sgd;
    spec.lr = 0.1;
    spec.momentum = momentum;
    spec.weight_decay = 0.01;
    ParameterUpdate one = update_of({1, -2}, {0.5, 0.25}, true);
    EXPECT_EQ(moment_count(spec), momentum == 0 ? 0 : 1);
    one.moments[1].reset();
    if (momentum == 0) one.moments[0].reset();
    Values p = {1, -2}, buffer = {0, 0};
    for (int step = 1; step <= 3; ++step) {
      update(spec, spec.lr, step, std::span(&one, 1));
      for (int i = 0; i < 2; ++i) {
        buffer[i] = momentum * buffer[i] + (i == 0 ? 0.5 : 0.25) + spec.weight_decay * p[i];
        p[i] -= spec.lr * buffer[i];
      }
    }
    expect_near(one.parameter, p);
  }
}

TEST(Update, GivesTheSameBitsTogetherAndAlone) {
  for (const auto kind : {OptimizerSpec::Kind::adamw, OptimizerSpec::Kind::sgd}) {
    OptimizerSpec spec;
    spec.kind = kind;
    spec.momentum = 0.9;
    std::vector<ParameterUpdate> together, alone;
    for (const std::int64_t size : {1, 7, 4096, 30001}) {
      const at::Tensor p = at::randn({size}), g = at::randn({size}), m = at::randn({size}), v = at::rand({size});
      for (auto* list : {&together, &alone})
        list->push_back(
            {p.clone(), g, {m.clone(), kind == OptimizerSpec::Kind::adamw ? v.clone() : at::Tensor()}, size > 7});
    }
    update(spec, 1e-3, 5, together);
    for (const ParameterUpdate& one : alone) update(spec, 1e-3, 5, std::span(&one, 1));
    for (std::size_t i = 0; i < alone.size(); ++i) {
      EXPECT_TRUE(together[i].parameter.equal(alone[i].parameter)) << i;
      EXPECT_TRUE(together[i].moments[0].equal(alone[i].moments[0])) << i;
    }
  }
}

TEST(SquaredNorm, IsExactInDoubleAndKnowsNoThreads) {
  EXPECT_EQ(squared_norm(tensor_of({3, 4, 12})), 169);
  EXPECT_EQ(squared_norm(at::ones({1'000'003})), 1'000'003);
  EXPECT_EQ(squared_norm(at::empty({0})), 0);
  const at::Tensor large = at::randn({500'001});
  at::set_num_threads(1);
  const double one = squared_norm(large);
  at::set_num_threads(2);
  EXPECT_EQ(squared_norm(large), one);
  EXPECT_NEAR(one, large.to(at::kDouble).pow(2).sum().item<double>(), 1e-6);
}

TEST(ClipFactor, IsThatOfClipGradNorm) {
  EXPECT_EQ(clip_factor(0.5, 1), 1);
  EXPECT_DOUBLE_EQ(clip_factor(10, 1), 1 / (10 + 1e-6));
  EXPECT_EQ(clip_factor(0, 1), 1);
}

struct Rate {
  std::uint64_t step;
  double constant, linear, cosine;
};

TEST(LearningRate, EqualsTransformersSchedules) {
  // transformers 5.23: get_{constant,linear,cosine}_schedule_with_warmup(lr 1, 3 of 10 steps of warm-up).
  const std::vector<Rate> expected = {{0, 0, 0, 0},
                                      {1, 1 / 3.0, 1 / 3.0, 1 / 3.0},
                                      {2, 2 / 3.0, 2 / 3.0, 2 / 3.0},
                                      {3, 1, 1, 1},
                                      {4, 1, 6 / 7.0, 0.9504844339512095},
                                      {7, 1, 3 / 7.0, 0.3887395330218428},
                                      {9, 1, 1 / 7.0, 0.04951556604879043}};
  using Kind = ScheduleSpec::Kind;
  for (const Rate& rate : expected) {
    EXPECT_DOUBLE_EQ(learning_rate({Kind::constant, 0.3}, 2, rate.step, 10), 2 * rate.constant) << rate.step;
    EXPECT_DOUBLE_EQ(learning_rate({Kind::linear, 0.3}, 2, rate.step, 10), 2 * rate.linear) << rate.step;
    EXPECT_NEAR(learning_rate({Kind::cosine, 0.3}, 2, rate.step, 10), 2 * rate.cosine, 1e-14) << rate.step;
  }
  EXPECT_EQ(learning_rate({Kind::constant, 0}, 2, 0, 10), 2);
  EXPECT_EQ(learning_rate({Kind::linear, 0}, 2, 0, 10), 2);
  // A share of steps is rounded up: 0.25 of 10 are 3 steps.
  EXPECT_DOUBLE_EQ(learning_rate({Kind::linear, 0.25}, 1, 2, 10), 2 / 3.0);
}

}  // namespace
}  // namespace hopyard
