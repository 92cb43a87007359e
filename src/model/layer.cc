#include "model/layer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "base/failure.h"
#include "base/rng.h"
#include "device/device_kernels.h"

namespace hopyard {

std::uint64_t pass_key(std::uint64_t trial_seed, std::uint64_t step, std::uint32_t micro_batch) {
  return derive(derive(derive(trial_seed, "pass"), step), micro_batch);
}

at::Generator Pass::draws(std::uint32_t draw) const {
  require(generator.defined(), "layer ", layer, " draws random numbers in a pass without a generator");
  require(!key_there.defined(), "layer ", layer, " draws from a generator, whose seeds cannot be changed in a record");
  at::Generator reseeded = generator;
  reseeded.set_current_seed(derive(derive(key, layer), draw));
  return reseeded;
}

namespace {

/// Values 2·pair and 2·pair + 1 come from one number of the SplitMix64 sequence that starts at `key`: five times as
/// fast as bernoulli_, and a value depends on nothing but the key and its place.
template <class Value>
void fill_mask(std::uint64_t key, double p, Value* out, std::int64_t begin, std::int64_t end) {
  const auto dropped_below = static_cast<std::uint32_t>(std::min(p * 0x1.0p32, 0x1.0p32 - 1));
  const Value kept[2] = {static_cast<Value>(0.0f), static_cast<Value>(static_cast<float>(1 / (1 - p)))};
  for (std::int64_t i = begin; i < end; i += 2) {
    const std::uint64_t bits = mix64(key + static_cast<std::uint64_t>(i / 2) * 0x9e3779b97f4a7c15ULL);
    out[i] = kept[static_cast<std::uint32_t>(bits) >= dropped_below];
    if (i + 1 < end) out[i + 1] = kept[static_cast<std::uint32_t>(bits >> 32) >= dropped_below];
  }
}

template <class Value>
void fill_mask(std::uint64_t key, double p, at::Tensor& mask) {
  auto* const out = mask.mutable_data_ptr<Value>();
  constexpr std::int64_t kPairsPerTask = 1 << 14;
  const std::int64_t count = mask.numel();
  at::parallel_for(0, (count + 1) / 2, kPairsPerTask, [&](std::int64_t begin, std::int64_t end) {
    fill_mask(key, p, out, 2 * begin, std::min(2 * end, count));
  });
}

}  // namespace

at::Tensor dropout_mask(const at::Tensor& like, double p, const Pass& pass, std::uint32_t draw) {
  const at::NoGradGuard no_grad;
  if (p >= 1) return at::zeros_like(like);
  at::Tensor mask = at::empty(like.sizes(), like.options().requires_grad(false));
  if (pass.key_there.defined()) {
    kernels_of(mask.device().type()).dropout_mask_from(mask, pass.key_there, pass.layer, draw, p);
    return mask;
  }
  const std::uint64_t key = derive(derive(pass.key, pass.layer), draw);
  if (!mask.is_cpu())
    kernels_of(mask.device().type()).dropout_mask(mask, key, p);
  else if (mask.scalar_type() == at::kBFloat16)
    fill_mask<at::BFloat16>(key, p, mask);
  else if (mask.scalar_type() == at::kHalf)
    fill_mask<at::Half>(key, p, mask);
  else
    fill_mask<float>(key, p, mask);
  return mask;
}

at::Tensor dropout(const at::Tensor& x, double p, const Pass& pass, std::uint32_t draw) {
  return p > 0 && pass.train ? x * dropout_mask(x, p, pass, draw) : x;
}

std::size_t Layer::declare(ParameterDescription parameter) {
  // Module's names may not contain dots; the checkpoint's name stays in the description.
  at::Tensor empty = at::empty({0}, at::kFloat);
  return declare(std::move(parameter), register_parameter(text::cat("p", bound_.size()), empty, false));
}

std::size_t Layer::declare(ParameterDescription parameter, const at::Tensor& registered) {
  description_.parameters.push_back(std::move(parameter));
  bound_.push_back(registered);
  bound_.back().set_requires_grad(false);
  bound_.back().set_data(at::empty({0}, at::kFloat));
  return bound_.size() - 1;
}

void Layer::bind(std::span<const at::Tensor> views, bool with_gradients) {
  require(views.size() == bound_.size(), description_.name, ": ", views.size(), " views for ", bound_.size(),
          " parameters");
  for (std::size_t i = 0; i < views.size(); ++i) {
    require(views[i].sizes() == at::IntArrayRef(description_.parameters[i].shape), description_.parameters[i].name,
            ": view of shape ", views[i].sizes());
    bound_[i].mutable_grad().reset();
    bound_[i].set_data(views[i]);
    bound_[i].set_requires_grad(with_gradients && !description_.parameters[i].frozen);
  }
}

void Layer::unbind() {
  for (at::Tensor& parameter : bound_) {
    parameter.mutable_grad().reset();
    parameter.set_requires_grad(false);
    parameter.set_data(at::empty({0}, at::kFloat));
  }
}

}  // namespace hopyard
