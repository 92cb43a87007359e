#include "pipeline/last_gradients.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "model/layer.h"

namespace hopyard {

namespace impl = torch::autograd::impl;

/// Around the hook that the parameter has, if it has one.
class LayersDone::Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(LayersDone& all, std::size_t place, std::unique_ptr<PostAccumulateGradHook> inner)
      : all_(all), place_(place), inner_(std::move(inner)) {}
  void operator()(const torch::autograd::Variable& parameter) override {
    if (inner_ != nullptr) (*inner_)(parameter);
    if (--all_.left_[place_] == 0) all_.done_(place_);
  }
  std::unique_ptr<PostAccumulateGradHook> take_inner() { return std::move(inner_); }

 private:
  LayersDone& all_;
  const std::size_t place_;
  std::unique_ptr<PostAccumulateGradHook> inner_;
};

LayersDone::LayersDone(std::span<LoadedLayer> layers, std::function<void(std::size_t place)> done)
    : layers_(layers), done_(std::move(done)), left_(layers.size(), 0) {
  each_parameter([&](std::size_t place, const at::Tensor&) { ++left_[place]; });
  for (std::size_t place = 0; place < left_.size(); ++place)
    if (left_[place] == 0) done_(place);
  each_parameter([&](std::size_t place, const at::Tensor& parameter) {
    auto inner = std::move(impl::post_acc_grad_hooks(parameter));
    impl::set_post_acc_grad_hooks(parameter, std::make_unique<Hook>(*this, place, std::move(inner)));
  });
}

LayersDone::~LayersDone() {
  each_parameter([](std::size_t, const at::Tensor& parameter) {
    auto& hook = static_cast<Hook&>(*impl::post_acc_grad_hooks(parameter));
    impl::set_post_acc_grad_hooks(parameter, hook.take_inner());
  });
}

void LayersDone::each_parameter(
    const std::function<void(std::size_t place, const at::Tensor& parameter)>& visit) const {
  for (std::size_t place = 0; place < layers_.size(); ++place)
    for (const auto& parameter : layers_[place].layer->bound())
      if (parameter.requires_grad()) visit(place, parameter);
}

}  // namespace hopyard
