#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/failure.h"
#include "model/families.h"
#include "model/initial_values.h"
#include "model/model.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;

void set_number(Json& config, const std::string& key, double value) {
  const bool whole = value == std::floor(value) && std::abs(value) < 9e15;
  const auto present = config.find(key);
  if (whole && (present == config.end() || !present->is_number_float()))
    config[key] = static_cast<std::int64_t>(value);
  else
    config[key] = value;
}

void apply_overrides(Json& config, const ModelSpec& spec, const FamilyEntry& family) {
  for (const auto& [name, value] : spec.overrides) {
    if (name != "dropout") set_number(config, name, value);
    if (name == "dropout")
      for (const std::string& key : family.dropout_keys) config[key] = value;
  }
}

void check_overrides(const ModelSpec& spec, const std::vector<std::string>& known) {
  for (const auto& [name, value] : spec.overrides) {
    if (name == "dropout" || std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string near = text::nearest(name, known);
    fail(ExitCode::usage, "model.", name, ": this family's config.json has no such key",
         near.empty() ? "" : text::cat("; did you mean '", near, "'?"));
  }
}

bool has_weights(const fs::path& folder) {
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (fs::exists(folder / name)) return true;
  return false;
}

void check_freeze(const ModelSpec& spec, std::size_t layers) {
  if (spec.freeze < 0 || static_cast<std::size_t>(spec.freeze) >= layers)
    fail(ExitCode::usage, "model.freeze: ", spec.freeze, " is not from 0 to ", layers - 1,
         ", the layers before the head of ", spec.checkpoint);
}

/// Without any names, all are meant.
bool is_named(const std::vector<std::string>& names, const ParameterDescription& parameter) {
  return names.empty() || std::any_of(names.begin(), names.end(), [&](const std::string& name) {
           return parameter.name.find(name) != std::string::npos;
         });
}

void check_trained(const ModelSpec& spec, const ModelDescription& model) {
  if (std::none_of(model.layers.begin(), model.layers.end(), [](const auto& layer) { return layer.trains(); }))
    fail(ExitCode::usage, "model.train_only: no parameter of ", spec.checkpoint, " has a name that contains ",
         text::join(spec.train_only, " or "), "; one is '", model.layers.back().parameters.front().name, "'");
}

void check_input(const FamilyEntry& family, const DataShape& shape, const std::string& where) {
  if (family.input == shape.input) return;
  const auto column = [](DataShape::Input input) {
    return input == DataShape::Input::features ? "features" : "input_ids";
  };
  fail(ExitCode::input, where, ": model_type '", family.name, "' takes rows of '", column(family.input),
       "' but the data have '", column(shape.input), "'; train on data with that column, or another model");
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> sizes;
  for (std::int64_t size : shape) sizes.push_back(std::to_string(size));
  return text::cat("[", text::join(sizes, ", "), "]");
}

const TensorInfo* find_in(const SafetensorsFolder* weights, const Family& family, const std::string& name) {
  if (!weights) return nullptr;
  for (const std::string& candidate : family.checkpoint_names(name))
    if (const TensorInfo* tensor = weights->find(candidate)) return tensor;
  return nullptr;
}

void check_tensor(const TensorInfo& tensor, const ParameterDescription& parameter, const std::string& folder) {
  if (!is_float(tensor.dtype))
    fail(ExitCode::input, folder, ": tensor ", tensor.name, " is ", dtype_name(tensor.dtype),
         "; parameters must be F32, F16, BF16 or F64");
  if (tensor.shape == parameter.shape) return;
  fail(ExitCode::input, folder, ": tensor ", tensor.name, " has shape ", shape_text(tensor.shape),
       " but config and data give ", shape_text(parameter.shape),
       "; use the config.json that belongs to the weights, or data with the model's labels");
}

void check_weights(const SafetensorsFolder& weights, const Family& family) {
  for (const auto& layer : family.make_layers()) {
    const auto& parameters = layer->description().parameters;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].tied_to) continue;
      if (const TensorInfo* tensor = find_in(&weights, family, parameters[i].name))
        check_tensor(*tensor, parameters[i], weights.folder());
      else if (!layer->may_be_new(i))
        fail(ExitCode::input, weights.folder(), ": tensor ", parameters[i].name,
             " is missing; the checkpoint is incomplete or belongs to another model");
    }
  }
}

}  // namespace

ModelSource::ModelSource(const ModelSpec& spec, const DataShape& shape) : spec_(spec), shape_(shape) {
  const std::string where = (fs::path(spec.checkpoint) / "config.json").string();
  config_ = read_json(where);
  const FamilyEntry& entry = find_family(json_get<std::string>(config_, "model_type", where), spec.task, where);
  check_input(entry, shape, where);
  apply_overrides(config_, spec, entry);
  ConfigReader reader(config_, where);
  family_ = entry.make(reader, spec.task, shape);
  check_overrides(spec, reader.keys());

  description_.family = entry.name;
  description_.tokens = entry.name == "mlp" ? 1 : shape.tokens;
  for (const auto& layer : make_layers()) description_.layers.push_back(layer->description());
  for (const LayerDescription& layer : description_.layers)
    for (const Part part : {Part::own, Part::shared}) layout_of(layer, part);  // refuses shapes that overflow
  check_freeze(spec, description_.layers.size());
  check_trained(spec, description_);
  if (!has_weights(spec.checkpoint)) return;
  weights_ = std::make_unique<SafetensorsFolder>(spec.checkpoint);
  check_weights(*weights_, *family_);
}

ModelSource::~ModelSource() = default;

std::int64_t ModelSource::vocabulary() const { return family_->vocabulary(); }

std::uint32_t ModelSource::frozen_layers() const {
  const auto& layers = description_.layers;
  const auto first = std::find_if(layers.begin(), layers.end(), [](const auto& layer) { return layer.trains(); });
  return static_cast<std::uint32_t>(first - layers.begin());
}

std::vector<std::shared_ptr<Layer>> ModelSource::make_layers() const {
  const auto made = family_->make_layers();
  const std::vector<std::shared_ptr<Layer>> layers(made.begin(), made.end());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const auto& parameters = layers[l]->description().parameters;
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      const auto& owner = parameters[p].tied_to;
      const bool frozen =
          owner ? layers[owner->layer]->description().parameters[owner->parameter].frozen
                : l < static_cast<std::size_t>(spec_.freeze) || !is_named(spec_.train_only, parameters[p]);
      if (frozen) layers[l]->freeze(p);
    }
  }
  return layers;
}

void ModelSource::initialise(std::uint32_t layer, Part part, std::uint64_t trial_seed, std::span<std::byte> out) const {
  const auto family_layer = family_->make_layers().at(layer);
  const LayerDescription& description = description_.layers[layer];
  const LayerLayout layout = layout_of(description, part);
  require(out.size() == layout.bytes, description.name, ": buffer of ", out.size(), " bytes for ", layout.bytes);
  for (std::size_t i = 0; i < description.parameters.size(); ++i) {
    const ParameterDescription& parameter = description.parameters[i];
    if (layout.places[i].bytes == 0) continue;
    const auto place = out.subspan(layout.places[i].offset, layout.places[i].bytes);
    const std::span<float> values(reinterpret_cast<float*>(place.data()), place.size() / sizeof(float));
    if (const TensorInfo* tensor = find_in(weights_.get(), *family_, parameter.name))
      convert_to_f32(tensor->dtype, weights_->bytes(tensor->name), values);
    else
      fill_initial(family_layer->initial_values()[i], parameter, trial_seed, values);
    const Bytes end = layout.places[i].offset + place.size();
    std::memset(out.data() + end, 0, align_up(end) - end);
  }
}

bool ModelSource::from_checkpoint(std::uint32_t layer, Part part) const {
  const auto& parameters = description_.layers.at(layer).parameters;
  return std::all_of(parameters.begin(), parameters.end(), [&](const ParameterDescription& parameter) {
    return parameter.tied_to || parameter.part() != part || find_in(weights_.get(), *family_, parameter.name);
  });
}

}  // namespace hopyard
