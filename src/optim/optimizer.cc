#include "optim/optimizer.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <vector>

#include "base/failure.h"

namespace hopyard {
namespace {

/// Lists as the fused kernels take them; all of one weight decay.
struct Lists {
  std::vector<at::Tensor> parameters, gradients, first, second;

  void add(const ParameterUpdate& update, int moments) {
    parameters.push_back(update.parameter);
    gradients.push_back(update.gradient);
    if (moments > 0) first.push_back(update.moments[0]);
    if (moments > 1) second.push_back(update.moments[1]);
  }
};

void update_adamw(const OptimizerSpec& spec, double lr, double weight_decay, std::uint64_t step, const Lists& lists) {
  const std::vector<at::Tensor> steps(
      lists.parameters.size(),
      at::full({}, static_cast<double>(step), lists.parameters.front().options().dtype(at::kFloat)));
  at::_fused_adamw_(lists.parameters, lists.gradients, lists.first, lists.second, {}, steps, lr, spec.beta1, spec.beta2,
                    weight_decay, spec.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void update_sgd(const OptimizerSpec& spec, double lr, double weight_decay, const Lists& lists) {
  // Momentum buffers start at zero, so the first step needs no case of its own: 0 · momentum + g = g.
  at::_fused_sgd_(lists.parameters, lists.gradients, lists.first, weight_decay, spec.momentum, lr, /*dampening=*/0,
                  /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false);
}

constexpr std::int64_t kNormChunk = 1 << 15;

double chunk_squares(const float* values, std::int64_t count) {
  constexpr std::int64_t kLanes = 8;
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  for (std::int64_t lane = 0; i < count; ++i, ++lane) lanes[lane] += static_cast<double>(values[i]) * values[i];
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void update(const OptimizerSpec& spec, double lr, std::uint64_t step, std::span<const ParameterUpdate> updates) {
  const at::NoGradGuard no_grad;
  const int moments = moment_count(spec);
  for (const bool decays : {true, false}) {
    Lists lists;
    for (const ParameterUpdate& update : updates)
      if ((update.decays || spec.decay_all) == decays) lists.add(update, moments);
    if (lists.parameters.empty()) continue;
    const double weight_decay = decays ? spec.weight_decay : 0.0;
    if (spec.kind == OptimizerSpec::Kind::adamw)
      update_adamw(spec, lr, weight_decay, step, lists);
    else
      update_sgd(spec, lr, weight_decay, lists);
  }
}

double squared_norm(const at::Tensor& gradient) {
  require(gradient.is_cpu() && gradient.scalar_type() == at::kFloat && gradient.is_contiguous(),
          "squared_norm: not contiguous float32 of the host");
  const float* values = gradient.const_data_ptr<float>();
  const std::int64_t count = gradient.numel();
  // Chunks of a fixed size, added in order: the number of threads does not show in the bits.
  std::vector<double> sums((count + kNormChunk - 1) / kNormChunk);
  at::parallel_for(0, static_cast<std::int64_t>(sums.size()), 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      const std::int64_t first = chunk * kNormChunk;
      sums[chunk] = chunk_squares(values + first, std::min(kNormChunk, count - first));
    }
  });
  double sum = 0;
  for (double part : sums) sum += part;
  return sum;
}

double clip_factor(double norm, double max_norm) { return std::min(1.0, max_norm / (norm + 1e-6)); }

}  // namespace hopyard
