// A multilayer perceptron over feature vectors, initialised as torch.nn.Linear.
#include <ATen/Functions.h>

#include <cmath>

#include "base/failure.h"
#include "model/blocks.h"
#include "model/families.h"

namespace hopyard {
namespace {

struct MlpConfig {
  std::vector<std::int64_t> sizes;  ///< of the input, of each hidden layer, of the output
  Activation activation;
  double dropout;
};

MlpConfig read_config(ConfigReader& reader, const ModelSpec& spec, const DataShape& shape) {
  refuse_head_choice(spec, "mlp");
  if (spec.adapter.kind != AdapterSpec::Kind::none)
    fail(ExitCode::usage, "model.adapter: mlp has no adapters, which are for pretrained transformers; leave it out");
  MlpConfig config;
  config.sizes = reader.counts("hidden_sizes", kWidthMax);
  config.sizes.insert(config.sizes.begin(), reader.count("input_size", kWidthMax));
  config.sizes.push_back(output_count(spec.task, shape));
  config.activation = parse_activation(reader.word("activation", "relu"), reader.where());
  config.dropout = reader.probability("dropout", 0);
  if (shape.tokens != config.sizes.front())
    fail(ExitCode::input, reader.where(), ": input_size is ", config.sizes.front(), " but the data have ", shape.tokens,
         " features");
  return config;
}

/// One linear layer; all but the head are followed by the activation and dropout.
class MlpLayer : public FamilyLayer {
 public:
  MlpLayer(const MlpConfig& config, std::size_t index)
      : is_head_(index + 2 == config.sizes.size()), activation_(config.activation), dropout_(config.dropout) {
    const std::int64_t in = config.sizes[index], out = config.sizes[index + 1];
    description_.name = is_head_ ? "head" : text::cat("hidden.", index);
    description_.kind = is_head_ ? "mlp.head" : text::cat("mlp.hidden.", in, "x", out);
    description_.output_bytes_per_row = out * sizeof(float);
    description_.forward_flops_per_row = 2.0 * static_cast<double>(in) * static_cast<double>(out);
    const InitialValue random = InitialValue::uniform(1 / std::sqrt(static_cast<double>(in)));
    const Role role = is_head_ ? Role::head : Role::body;
    weight_ = weight(description_.name + ".weight", {out, in}, random, role);
    bias_ = plain(description_.name + ".bias", {out}, random, role);
  }

  at::Tensor forward(const at::Tensor& x, const Batch& batch, const Pass& pass) override {
    const at::Tensor& weight = parameter(weight_);
    const at::Tensor y = at::linear(x.defined() ? x : batch.inputs.to(weight.scalar_type()), weight, parameter(bias_));
    return is_head_ ? y : dropout(activate(y, activation_), dropout_, pass, 0);
  }

 private:
  bool is_head_;
  Activation activation_;
  double dropout_;
  std::size_t weight_, bias_;
};

class Mlp : public Family {
 public:
  explicit Mlp(MlpConfig config) : config_(std::move(config)) {}

  std::vector<std::shared_ptr<FamilyLayer>> make_layers() const override {
    std::vector<std::shared_ptr<FamilyLayer>> layers;
    for (std::size_t i = 0; i + 1 < config_.sizes.size(); ++i) layers.push_back(std::make_shared<MlpLayer>(config_, i));
    return layers;
  }

  std::string architecture() const override { return ""; }

 private:
  MlpConfig config_;
};

}  // namespace

std::unique_ptr<Family> make_mlp(ConfigReader& config, const ModelSpec& spec, const DataShape& shape) {
  return std::make_unique<Mlp>(read_config(config, spec, shape));
}

}  // namespace hopyard
