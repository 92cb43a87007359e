// Optimizers as functions over tensors that somebody else owns, learning-rate schedules, and the gradient norm.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace hopyard {

/// torch.optim's defaults. AdamW: Loshchilov, Hutter, ICLR 2019, as at::_fused_adamw_ computes it.
struct OptimizerSpec {
  enum class Kind { adamw, sgd };
  Kind kind = Kind::adamw;
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  ///< adamw
  double momentum = 0;                            ///< sgd, as torch.optim.SGD with dampening 0
  double weight_decay = 0.01;
  bool decay_all = false;  ///< false: none on biases and norms
  bool operator==(const OptimizerSpec&) const = default;
};

/// How many buffers of a parameter's size the optimizer keeps: 2 for AdamW, 1 for SGD with momentum, else 0.
int moment_count(const OptimizerSpec& spec);

struct ScheduleSpec {
  enum class Kind { constant, linear, cosine };
  Kind kind = Kind::constant;
  double warmup = 0;  ///< share of all steps over which the rate rises linearly from 0, as transformers' schedules do
  bool operator==(const ScheduleSpec&) const = default;
};

/// The rate of step `step` (from 0) of `total`; equals transformers' get_{constant,linear,cosine}_schedule_with_warmup.
double learning_rate(const ScheduleSpec& schedule, double lr, std::uint64_t step, std::uint64_t total);

/// One parameter, its gradient and its moments: views, all contiguous and of one shape. Unused moments are undefined.
struct ParameterUpdate {
  at::Tensor parameter, gradient;
  std::array<at::Tensor, 2> moments;
  bool decays = true;
};

/// Updates in place, parameter by parameter, so that the bits do not depend on which parameters come together.
/// `step` from 1. Runs on the calling thread and the device of the tensors.
void update(const OptimizerSpec& spec, double lr, std::uint64_t step, std::span<const ParameterUpdate> updates);

/// Sum of squares in double, in an order that depends on the tensor alone.
double squared_norm(const at::Tensor& gradient);
/// torch.nn.utils.clip_grad_norm_'s factor: min(1, max_norm / (norm + 1e-6)).
double clip_factor(double norm, double max_norm);

}  // namespace hopyard
