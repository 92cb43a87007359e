#include "model/peft.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/failure.h"
#include "base/files.h"
#include "formats/printable.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;

std::string weights_path(const std::string& folder) {
  const fs::path root(folder);
  if (!fs::exists(root / "adapter_config.json"))
    fail(ExitCode::input, folder, ": has no adapter_config.json; name a folder that PEFT or hopyard export wrote");
  if (!fs::exists(root / "adapter_model.safetensors") && fs::exists(root / "adapter_model.bin"))
    fail(ExitCode::input, folder,
         ": adapter_model.bin is a pickle, which can run code and is not read; load it with peft "
         "once and save it with safe_serialization=True");
  return (root / "adapter_model.safetensors").string();
}

/// Variants of LoRA that compute something else.
void refuse_variants(const Json& config, const std::string& where) {
  const std::string type = json_get<std::string>(config, "peft_type", where);
  if (type != "LORA") fail(ExitCode::input, where, ": peft_type ", printable(type), " is not supported, only LORA");
  for (const char* key : {"use_dora", "use_rslora", "lora_bias", "use_qalora"})
    if (const auto found = config.find(key); found != config.end() && found->is_boolean() && found->get<bool>())
      fail(ExitCode::input, where, ": ", key, " is not supported; only plain LoRA is");
  for (const char* key : {"rank_pattern", "alpha_pattern"})
    if (const auto found = config.find(key); found != config.end() && found->is_object() && !found->empty())
      fail(ExitCode::input, where, ": ", key, " is not supported; all targets have one rank and one alpha");
  const auto bias = config.find("bias");
  if (bias != config.end() && *bias != "none")
    fail(ExitCode::input, where, ": bias other than none is not supported; biases of the base model stay as they are");
}

std::vector<std::string> targets_of(const Json& config, const std::string& where) {
  const auto found = config.find("target_modules");
  if (found == config.end() || !found->is_array() || found->empty() || found->size() > 1000)
    fail(ExitCode::input, where, ": target_modules must be a list of module names");
  std::vector<std::string> targets;
  for (const Json& target : *found) {
    if (!target.is_string()) fail(ExitCode::input, where, ": target_modules must be a list of module names");
    targets.push_back(target.get<std::string>());
  }
  std::sort(targets.begin(), targets.end());  // PEFT writes a set in any order
  return targets;
}

/// The last part of a path or of a name on the hub.
std::string last_part(std::string path) {
  while (!path.empty() && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

template <class T>
std::optional<T> settle(const std::optional<T>& wanted, T held, const char* key, const std::string& where) {
  if (wanted && *wanted != held)
    fail(ExitCode::usage, "model.adapter.", key, ": ", *wanted, " is not the ", held, " of ", where,
         "; leave it out to take the folder's");
  return held;
}

}  // namespace

PeftFolder::PeftFolder(const std::string& folder)
    : folder_(folder), where_((fs::path(folder) / "adapter_config.json").string()), weights_(weights_path(folder)) {
  config_ = read_json(where_);
  refuse_variants(config_, where_);
  rank_ = json_get<std::int64_t>(config_, "r", where_);
  const auto alpha = config_.find("lora_alpha"), dropout = config_.find("lora_dropout");
  alpha_ = alpha != config_.end() && alpha->is_number() ? alpha->get<double>() : NAN;
  dropout_ = dropout != config_.end() && dropout->is_number() ? dropout->get<double>() : 0;
  if (rank_ < 1 || !std::isfinite(alpha_) || !(dropout_ >= 0 && dropout_ < 1))
    fail(ExitCode::input, where_, ": r must be at least 1, lora_alpha a number and lora_dropout from 0 to below 1");
  targets_ = targets_of(config_, where_);
  for (const TensorInfo& tensor : weights_.tensors())
    if (!tensor.name.starts_with(kPeftPrefix) || !is_float(tensor.dtype))
      fail(ExitCode::input, weights_.path(), ": tensor ", printable(tensor.name), " (", dtype_name(tensor.dtype),
           ") is not what PEFT writes: floats under names that begin with ", kPeftPrefix);
}

AdapterSpec PeftFolder::complete(const AdapterSpec& spec, const std::string& checkpoint) const {
  const auto base = config_.find("base_model_name_or_path");
  if (base != config_.end() && base->is_string()) {
    const std::string trained_on = last_part(base->get<std::string>()), here = last_part(checkpoint);
    if (!trained_on.empty() && trained_on != here)
      fail(ExitCode::usage, "model.adapter.from: ", folder_, " was trained on the base model ", printable(trained_on),
           " and model.checkpoint is ", printable(here),
           "; choose the one that it belongs to, or, if the two are the same, "
           "correct base_model_name_or_path in its adapter_config.json");
  }
  AdapterSpec out = spec;
  out.rank = settle(spec.rank, rank_, "rank", where_);
  out.alpha = settle(spec.alpha, alpha_, "alpha", where_);
  if (!spec.dropout) out.dropout = dropout_;
  auto wanted = spec.targets;
  std::sort(wanted.begin(), wanted.end());
  if (!wanted.empty() && wanted != targets_)
    fail(ExitCode::usage, "model.adapter.targets: ", text::join(wanted, ", "), " are not those of ", where_,
         ", which are ", printable(text::join(targets_, ", ")), "; leave them out to take the folder's");
  out.targets = targets_;
  return out;
}

std::vector<std::string> PeftFolder::names() const {
  std::vector<std::string> names;
  for (const TensorInfo& tensor : weights_.tensors())
    names.push_back(tensor.name.substr(std::string(kPeftPrefix).size()));
  return names;
}

Json peft_config(const PeftDescription& description) {
  Json config = {{"peft_type", "LORA"},
                 {"task_type", description.task},
                 {"base_model_name_or_path", description.base},
                 {"inference_mode", true},
                 {"r", description.rank},
                 {"lora_alpha", description.alpha},
                 {"lora_dropout", description.dropout},
                 {"target_modules", description.targets},
                 {"modules_to_save", nullptr},
                 {"bias", "none"},
                 {"fan_in_fan_out", description.is_conv1d},
                 {"init_lora_weights", true},
                 {"use_rslora", false},
                 {"use_dora", false},
                 {"rank_pattern", Json::object()},
                 {"alpha_pattern", Json::object()},
                 {"layers_to_transform", nullptr},
                 {"layers_pattern", nullptr}};
  if (!description.modules_to_save.empty()) config["modules_to_save"] = description.modules_to_save;
  if (!description.blocks.empty()) {
    config["layers_to_transform"] = description.blocks;
    config["layers_pattern"] = description.blocks_pattern;
  }
  if (description.alpha == std::floor(description.alpha) && std::abs(description.alpha) < 1e9)
    config["lora_alpha"] = static_cast<std::int64_t>(description.alpha);
  return config;
}

}  // namespace hopyard
