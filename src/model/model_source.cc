#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/failure.h"
#include "model/families.h"
#include "model/model.h"
#include "model/peft.h"

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

/// `head` is the index of the last layer; `first` of the first one that may begin anew.
void check_reinit(const ModelSpec& spec, std::int64_t first, std::int64_t head) {
  if (spec.reinit_layers == 0) return;
  if (spec.reinit_layers < 0 || spec.reinit_layers > head - first)
    fail(ExitCode::usage, "model.reinit_layers: ", spec.reinit_layers, " is not from 0 to ", head - first,
         ", the layers between embeddings and head of ", spec.checkpoint);
  if (spec.freeze > head - spec.reinit_layers)
    fail(ExitCode::usage, "model.reinit_layers: ", spec.reinit_layers, " reaches into the layers that model.freeze ",
         spec.freeze, " keeps as they are; freeze fewer, or begin fewer anew");
  if (spec.adapter.kind != AdapterSpec::Kind::none)
    fail(ExitCode::usage,
         "model.reinit_layers: the body of a model with adapters is frozen, so that layers which begin "
         "anew would stay random; choose one of the two");
}

void check_adapted(const ModelSpec& spec, std::int64_t blocks) {
  if (spec.adapter.kind != AdapterSpec::Kind::none && spec.freeze > blocks)
    fail(ExitCode::usage, "model.adapter: model.freeze ", spec.freeze, " leaves no layer for adapters; freeze at most ",
         blocks, " of ", spec.checkpoint);
}

}  // namespace

ModelSource::ModelSource(const ModelSpec& spec, const DataShape& shape) : spec_(spec), shape_(shape) {
  const std::string where = (fs::path(spec.checkpoint) / "config.json").string();
  config_ = read_json(where);
  const FamilyEntry& entry = find_family(json_get<std::string>(config_, "model_type", where), spec.task, where);
  check_input(entry, shape, where);
  apply_overrides(config_, spec, entry);
  if (!spec.adapter.from.empty()) {
    start_ = std::make_unique<PeftFolder>(spec.adapter.from);
    spec_.adapter = start_->complete(spec.adapter, spec.checkpoint);
  }
  ConfigReader reader(config_, where);
  family_ = entry.make(reader, spec_, shape);
  check_overrides(spec, reader.keys());

  description_.family = entry.name;
  description_.tokens = entry.name == "mlp" ? 1 : shape.tokens;
  for (auto& layer : family_->make_layers()) layers_.push_back(std::move(layer));
  for (const auto& layer : make_layers()) description_.layers.push_back(layer->description());
  for (const LayerDescription& layer : description_.layers)
    for (const Part part : {Part::own, Part::shared}) layout_of(layer, part);  // refuses shapes that overflow
  check_freeze(spec_, description_.layers.size());
  const auto head = static_cast<std::int64_t>(description_.layers.size()) - 1;
  check_reinit(spec_, entry.name == "mlp" ? 0 : 1, head);
  check_adapted(spec_, head - 1);
  check_trained(spec_, description_);
  if (has_weights(spec.checkpoint) && !spec.from_scratch) {
    weights_ = std::make_unique<SafetensorsFolder>(spec.checkpoint);
    check_weights();
  }
  if (start_) check_start();
}

ModelSource::~ModelSource() = default;

std::int64_t ModelSource::vocabulary() const { return family_->vocabulary(); }

std::uint32_t ModelSource::frozen_layers() const {
  const auto& layers = description_.layers;
  const auto first = std::find_if(layers.begin(), layers.end(), [](const auto& layer) { return layer.trains(); });
  return static_cast<std::uint32_t>(first - layers.begin());
}

bool ModelSource::is_frozen(std::uint32_t layer, std::size_t parameter) const {
  const FamilyLayer& family_layer = *layers_[layer];
  const ParameterDescription& description = family_layer.description().parameters[parameter];
  if (const auto& owner = description.tied_to) return is_frozen(owner->layer, owner->parameter);
  if (layer < static_cast<std::uint32_t>(spec_.freeze) || !is_named(spec_.train_only, description)) return true;
  if (spec_.adapter.kind == AdapterSpec::Kind::none) return false;
  using Role = FamilyLayer::Role;
  const Role role = family_layer.role(parameter);
  const bool norms_train = spec_.adapter.kind == AdapterSpec::Kind::bottleneck && layer > 0;  // Houlsby et al., 2.1
  return role != Role::adapter && role != Role::head && !(role == Role::norm && norms_train);
}

std::vector<std::shared_ptr<Layer>> ModelSource::make_layers() const {
  const auto made = family_->make_layers();
  for (std::uint32_t l = 0; l < made.size(); ++l)
    for (std::size_t p = 0; p < made[l]->description().parameters.size(); ++p)
      if (is_frozen(l, p)) made[l]->freeze(p);
  return {made.begin(), made.end()};
}

}  // namespace hopyard
