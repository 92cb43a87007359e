// What an optimizer and its learning rate are, as plain values without tensors.
#pragma once

#include <cstdint>

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
  double layer_decay = 1;  ///< layer_rate(); 1: all layers at the same rate
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

/// The rate of layer `layer` of `layers` under a rate of `lr` for the last one, the head: lr · layer_decay^(layers
/// above it), as BEiT assigns them (Bao et al., ICLR 2022; layer-wise decay is from ELECTRA, Clark et al., ICLR 2020).
double layer_rate(const OptimizerSpec& spec, double lr, std::uint32_t layer, std::uint32_t layers);

}  // namespace hopyard
