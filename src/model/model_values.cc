// Where a model's first weights come from: the checkpoint, the folder of an adapter, or random numbers.
#include <cstring>
#include <set>

#include "base/failure.h"
#include "formats/printable.h"
#include "model/families.h"
#include "model/initial_values.h"
#include "model/model.h"
#include "model/peft.h"

namespace hopyard {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> sizes;
  for (std::int64_t size : shape) sizes.push_back(std::to_string(size));
  return text::cat("[", text::join(sizes, ", "), "]");
}

/// Null folder: nothing is there.
template <class Folder>
const TensorInfo* find_in(const Folder* folder, const Family& family, const std::string& name) {
  if (!folder) return nullptr;
  for (const std::string& candidate : family.checkpoint_names(name))
    if (const TensorInfo* tensor = folder->find(candidate)) return tensor;
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

}  // namespace

struct ModelSource::StoredValue {
  const TensorInfo* tensor = nullptr;
  std::span<const std::byte> bytes;
};

bool ModelSource::begins_anew(std::uint32_t layer, std::size_t parameter) const {
  if (spec_.from_scratch) return true;
  if (spec_.reinit_layers == 0) return false;
  const std::size_t head = layers_.size() - 1;
  if (layer == head) return layers_[layer]->role(parameter) == FamilyLayer::Role::head;
  return layer + static_cast<std::size_t>(spec_.reinit_layers) >= head;
}

std::optional<ModelSource::StoredValue> ModelSource::stored(std::uint32_t layer, std::size_t parameter) const {
  const std::string& name = description_.layers[layer].parameters[parameter].name;
  const FamilyLayer::Role role = layers_[layer]->role(parameter);
  if (role == FamilyLayer::Role::adapter || role == FamilyLayer::Role::head)
    if (const TensorInfo* tensor = find_in(start_.get(), *family_, name))
      return StoredValue{tensor, start_->bytes(*tensor)};
  if (role == FamilyLayer::Role::adapter || begins_anew(layer, parameter)) return std::nullopt;
  if (const TensorInfo* tensor = find_in(weights_.get(), *family_, name))
    return StoredValue{tensor, weights_->bytes(tensor->name)};
  return std::nullopt;
}

void ModelSource::check_weights() const {
  for (std::uint32_t layer = 0; layer < layers_.size(); ++layer) {
    const auto& parameters = description_.layers[layer].parameters;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const FamilyLayer::Role role = layers_[layer]->role(i);
      if (parameters[i].tied_to || role == FamilyLayer::Role::adapter || begins_anew(layer, i)) continue;
      if (const TensorInfo* tensor = find_in(weights_.get(), *family_, parameters[i].name))
        check_tensor(*tensor, parameters[i], weights_->folder());
      else if (role != FamilyLayer::Role::head)
        fail(ExitCode::input, weights_->folder(), ": tensor ", parameters[i].name,
             " is missing; the checkpoint is incomplete or belongs to another model");
    }
  }
}

void ModelSource::check_start() const {
  std::set<std::string> known;
  for (std::uint32_t layer = 0; layer < layers_.size(); ++layer) {
    const auto& parameters = description_.layers[layer].parameters;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const FamilyLayer::Role role = layers_[layer]->role(i);
      if (role != FamilyLayer::Role::adapter && role != FamilyLayer::Role::head) continue;
      if (const TensorInfo* tensor = find_in(start_.get(), *family_, parameters[i].name)) {
        check_tensor(*tensor, parameters[i], start_->folder());
        known.insert(tensor->name);
      } else if (role == FamilyLayer::Role::adapter) {
        fail(ExitCode::input, start_->folder(), ": tensor ", kPeftPrefix, parameters[i].name,
             " is missing; the folder belongs to another base model, or has adapters in fewer layers");
      }
    }
  }
  for (const std::string& name : start_->names())
    if (!known.contains(kPeftPrefix + name))
      fail(ExitCode::input, start_->folder(), ": tensor ", printable(kPeftPrefix + name),
           " has no place in the model; the folder belongs to another base model, or has adapters in layers that "
           "model.freeze keeps as they are");
}

void ModelSource::initialise(std::uint32_t layer, Part part, std::uint64_t trial_seed, std::span<std::byte> out) const {
  const LayerDescription& description = description_.layers.at(layer);
  const LayerLayout layout = layout_of(description, part);
  require(out.size() == layout.bytes, description.name, ": buffer of ", out.size(), " bytes for ", layout.bytes);
  for (std::size_t i = 0; i < description.parameters.size(); ++i) {
    const ParameterDescription& parameter = description.parameters[i];
    if (layout.places[i].bytes == 0) continue;
    const auto place = out.subspan(layout.places[i].offset, layout.places[i].bytes);
    const std::span<float> values(reinterpret_cast<float*>(place.data()), place.size() / sizeof(float));
    if (const auto value = stored(layer, i))
      convert_to_f32(value->tensor->dtype, value->bytes, values);
    else
      fill_initial(layers_[layer]->initial_values()[i], parameter, trial_seed, values);
    const Bytes end = layout.places[i].offset + place.size();
    std::memset(out.data() + end, 0, align_up(end) - end);
  }
}

bool ModelSource::from_checkpoint(std::uint32_t layer, Part part) const {
  const auto& parameters = description_.layers.at(layer).parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (!parameters[i].tied_to && parameters[i].part() == part && !stored(layer, i)) return false;
  return true;
}

}  // namespace hopyard
