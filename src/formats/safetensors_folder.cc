#include <algorithm>
#include <filesystem>
#include <map>

#include "base/failure.h"
#include "formats/json.h"
#include "formats/printable.h"
#include "formats/safetensors.h"

namespace hopyard {

namespace {

namespace fs = std::filesystem;

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

[[noreturn]] void fail_without_weights(const std::string& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) fail(ExitCode::input, folder, ": is not a folder that can be read");
  if (exists(folder + "/pytorch_model.bin") || exists(folder + "/pytorch_model.bin.index.json"))
    fail(ExitCode::input, folder,
         ": has only pytorch_model.bin, a pickle that could run code; convert it once in Python: ",
         "AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)");
  fail(ExitCode::input, folder, ": has neither model.safetensors nor model.safetensors.index.json");
}

/// Tensor name → file name, as model.safetensors.index.json says; every file name is a plain one.
std::map<std::string, std::string> read_weight_map(const std::string& path) {
  const Json index = read_json(path);
  const auto found = index.is_object() ? index.find("weight_map") : index.end();
  if (found == index.end() || !found->is_object())
    fail(ExitCode::input, path, ": 'weight_map' must be an object of tensor names and file names");
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : found->items()) {
    if (!file.is_string()) fail(ExitCode::input, path, ": the file of tensor ", printable(name), " must be text");
    if (!is_plain_file_name(file.get_ref<const std::string&>()))
      fail(ExitCode::input, path, ": puts tensor ", printable(name), " into ",
           printable(file.get_ref<const std::string&>()), ", which leaves the folder");
    files.emplace(name, file.get<std::string>());
  }
  return files;
}

}  // namespace

SafetensorsFolder::SafetensorsFolder(const std::string& folder) : folder_(folder) {
  const std::string single = folder + "/model.safetensors", index = folder + "/model.safetensors.index.json";
  if (exists(single)) {
    files_.emplace_back(single);
    for (const auto& tensor : files_[0].tensors()) index_.emplace_back(tensor.name, 0);
    return;
  }
  if (!exists(index)) fail_without_weights(folder);
  std::map<std::string, std::size_t> opened;
  for (const auto& [name, file] : read_weight_map(index)) {
    const auto [at, fresh] = opened.emplace(file, files_.size());
    if (fresh) files_.emplace_back(folder + "/" + file);
    if (files_[at->second].find(name) == nullptr)
      fail(ExitCode::input, files_[at->second].path(), ": has no tensor ", printable(name),
           ", though model.safetensors.index.json says so");
    index_.emplace_back(name, at->second);
  }
}

const TensorInfo* SafetensorsFolder::find(std::string_view name) const {
  const auto at = std::lower_bound(index_.begin(), index_.end(), name,
                                   [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
  return at != index_.end() && at->first == name ? files_[at->second].find(name) : nullptr;
}

std::span<const std::byte> SafetensorsFolder::bytes(std::string_view name) const {
  const auto at = std::lower_bound(index_.begin(), index_.end(), name,
                                   [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
  if (at == index_.end() || at->first != name)
    fail(ExitCode::input, folder_, ": tensor ", printable(name), " is missing from the checkpoint");
  const auto& file = files_[at->second];
  return file.bytes(*file.find(name));
}

std::vector<std::string> SafetensorsFolder::names() const {
  std::vector<std::string> names;
  for (const auto& entry : index_) names.push_back(entry.first);
  return names;
}

}  // namespace hopyard
