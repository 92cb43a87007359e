#include "optim/optimizer_spec.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hopyard {

int moment_count(const OptimizerSpec& spec) {
  if (spec.kind == OptimizerSpec::Kind::adamw) return 2;
  return spec.momentum == 0 ? 0 : 1;
}

double learning_rate(const ScheduleSpec& schedule, double lr, std::uint64_t step, std::uint64_t total) {
  // transformers.TrainingArguments.get_warmup_steps rounds a share up.
  const double warmup = std::ceil(schedule.warmup * static_cast<double>(total));
  const double at = static_cast<double>(step);
  if (at < warmup) return lr * (at / std::max(1.0, warmup));
  const double rest = std::max(1.0, static_cast<double>(total) - warmup);
  switch (schedule.kind) {
    case ScheduleSpec::Kind::constant:
      return lr;
    case ScheduleSpec::Kind::linear:
      return lr * std::max(0.0, (static_cast<double>(total) - at) / rest);
    case ScheduleSpec::Kind::cosine:
      return lr * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * ((at - warmup) / rest))));
  }
  return lr;
}

double layer_rate(const OptimizerSpec& spec, double lr, std::uint32_t layer, std::uint32_t layers) {
  return spec.layer_decay == 1 ? lr : lr * std::pow(spec.layer_decay, layers - 1 - layer);
}

}  // namespace hopyard
