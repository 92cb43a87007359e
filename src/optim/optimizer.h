// Optimizers as functions over tensors that somebody else owns, and the gradient norm.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>

#include "optim/optimizer_spec.h"

namespace hopyard {

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
