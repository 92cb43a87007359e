// Writing a trained model as a Hugging Face folder.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/failure.h"
#include "base/files.h"
#include "model/families.h"
#include "model/model.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTokenizerBytesMax = 256 * MiB;

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                           "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model"})
    if (fs::exists(from / name))
      write_file_atomically((to / name).string(), read_file((from / name).string(), kTokenizerBytesMax));
}

void name_labels(Json& config, const DataShape& shape) {
  Json id_to_label = Json::object(), label_to_id = Json::object();
  for (std::int64_t i = 0; i < shape.classes; ++i) {
    const bool named = static_cast<std::size_t>(i) < shape.label_names.size();
    const std::string label = named ? shape.label_names[static_cast<std::size_t>(i)] : text::cat("LABEL_", i);
    id_to_label[std::to_string(i)] = label;
    label_to_id[label] = i;
  }
  config["num_labels"] = shape.classes;
  config["id2label"] = id_to_label;
  config["label2id"] = label_to_id;
  config["problem_type"] = "single_label_classification";
}

Json export_config(Json config, const std::string& architecture, ModelTask task, const DataShape& shape) {
  if (!architecture.empty()) config["architectures"] = Json::array({architecture});
  config["torch_dtype"] = "float32";
  config.erase("dtype");
  if (task == ModelTask::sequence_classification) name_labels(config, shape);
  if (task == ModelTask::regression) {
    config["num_labels"] = 1;
    config["id2label"] = {{"0", "LABEL_0"}};
    config["label2id"] = {{"LABEL_0", 0}};
    config["problem_type"] = "regression";
  }
  return config;
}

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ExitCode::input, folder, ": cannot be made: ", error.message());
}

/// Where in which buffer a tensor's bytes are.
struct Source {
  std::uint32_t layer = 0;
  Part part = Part::own;
  LayerLayout::Place place;
};

}  // namespace

void ModelSource::export_to(const std::string& folder, const PartReader& read) const {
  make_folder(folder);
  std::vector<TensorToWrite> tensors;
  std::vector<Source> sources;
  for (std::uint32_t layer = 0; layer < description_.layers.size(); ++layer) {
    const auto& parameters = description_.layers[layer].parameters;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].tied_to) continue;
      const Part part = parameters[i].part();
      tensors.push_back({parameters[i].name, Dtype::f32, parameters[i].shape});
      sources.push_back({layer, part, layout_of(description_.layers[layer], part).places[i]});
    }
  }
  std::vector<std::byte> buffers[2];  // the parts of one layer at a time
  std::optional<std::uint32_t> held[2];
  write_safetensors((fs::path(folder) / "model.safetensors").string(), tensors,
                    [&](std::size_t index, std::span<std::byte> out) {
                      const Source& source = sources[index];
                      const auto part = static_cast<std::size_t>(source.part);
                      std::vector<std::byte>& buffer = buffers[part];
                      if (held[part] != source.layer) {
                        buffer.resize(layout_of(description_.layers[source.layer], source.part).bytes);
                        read(source.layer, source.part, buffer);
                        held[part] = source.layer;
                      }
                      std::memcpy(out.data(), buffer.data() + source.place.offset, out.size());
                    });
  const Json config = export_config(config_, family_->architecture(), spec_.task, shape_);
  write_file_atomically((fs::path(folder) / "config.json").string(), config.dump(2) + "\n");
  copy_tokenizer(spec_.checkpoint, folder);
}

}  // namespace hopyard
