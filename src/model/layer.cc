#include "model/layer.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard {

std::uint64_t pass_key(std::uint64_t trial_seed, std::uint64_t step, std::uint32_t micro_batch) {
  return derive(derive(derive(trial_seed, "pass"), step), micro_batch);
}

at::Generator Pass::draws(std::uint32_t draw) const {
  require(generator.defined(), "layer ", layer, " draws random numbers in a pass without a generator");
  at::Generator reseeded = generator;
  reseeded.set_current_seed(derive(derive(key, layer), draw));
  return reseeded;
}

at::Tensor dropout_mask(const at::Tensor& like, double p, const Pass& pass, std::uint32_t draw) {
  const at::NoGradGuard no_grad;
  if (p >= 1) return at::zeros_like(like);
  return at::empty_like(like).bernoulli_(1 - p, pass.draws(draw)).mul_(1 / (1 - p));
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

void Layer::bind(std::span<const at::Tensor> views, bool requires_grad) {
  require(views.size() == bound_.size(), description_.name, ": ", views.size(), " views for ", bound_.size(),
          " parameters");
  for (std::size_t i = 0; i < views.size(); ++i) {
    require(views[i].sizes() == at::IntArrayRef(description_.parameters[i].shape), description_.parameters[i].name,
            ": view of shape ", views[i].sizes());
    bound_[i].mutable_grad().reset();
    bound_[i].set_data(views[i]);
    bound_[i].set_requires_grad(requires_grad);
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
