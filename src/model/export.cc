// Writing a trained model: as a Hugging Face folder, a PEFT folder, or in parts where these have no form for it.
#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/failure.h"
#include "base/files.h"
#include "model/families.h"
#include "model/model.h"
#include "model/peft.h"

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

/// Calls the reader for one part of a layer at a time, however its parameters are asked for.
class PartBuffers {
 public:
  PartBuffers(const ModelDescription& model, const PartReader& read) : model_(model), read_(read) {}

  /// A parameter's bytes, until the next call.
  std::span<const std::byte> bytes(std::uint32_t layer, std::size_t parameter) {
    const Part part = model_.layers[layer].parameters[parameter].part();
    const LayerLayout layout = layout_of(model_.layers[layer], part);
    auto& [held, buffer] = held_[static_cast<std::size_t>(part)];
    if (held != layer) {
      buffer.resize(layout.bytes);
      read_(layer, part, buffer);
      held = layer;
    }
    return std::span(buffer).subspan(layout.places[parameter].offset, layout.places[parameter].bytes);
  }

 private:
  struct Held {
    std::optional<std::uint32_t> layer;
    std::vector<std::byte> buffer;
  };
  const ModelDescription& model_;
  const PartReader& read_;
  Held held_[2];
};

/// A parameter that is written, and LoRA's two where they are to be added to it.
struct Exported {
  std::uint32_t layer = 0;
  std::size_t parameter = 0;
  std::optional<std::size_t> down;  ///< LoRA's A; B is the parameter after it
};

at::Tensor as_tensor(std::span<const std::byte> bytes, const std::vector<std::int64_t>& shape) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

/// What a file is written from.
struct ExportSource {
  const ModelDescription& model;
  const PartReader& read;
  double lora_scale = 0;
  bool is_conv1d = false;

  void write(const std::string& path, const std::vector<Exported>& parameters, const std::string& prefix = "") const {
    std::vector<TensorToWrite> tensors;
    for (const Exported& one : parameters) {
      const ParameterDescription& parameter = description(one.layer, one.parameter);
      tensors.push_back({prefix + parameter.name, Dtype::f32, parameter.shape});
    }
    PartBuffers buffers(model, read);
    write_safetensors(path, tensors, [&](std::size_t index, std::span<std::byte> out) {
      const Exported& one = parameters[index];
      const auto bytes = buffers.bytes(one.layer, one.parameter);
      std::memcpy(out.data(), bytes.data(), out.size());
      if (one.down) add_change(buffers, one, tensors[index].shape, out);
    });
  }

 private:
  const ParameterDescription& description(std::uint32_t layer, std::size_t parameter) const {
    return model.layers[layer].parameters[parameter];
  }

  /// W + scale · B·A, in double so that only the sum is rounded.
  void add_change(PartBuffers& buffers, const Exported& one, const std::vector<std::int64_t>& shape,
                  std::span<std::byte> out) const {
    const auto value = [&](std::size_t parameter) {
      return as_tensor(buffers.bytes(one.layer, parameter), description(one.layer, parameter).shape).to(at::kDouble);
    };
    at::Tensor change = at::matmul(value(*one.down + 1), value(*one.down)).mul_(lora_scale);
    if (is_conv1d) change = change.t();
    const at::Tensor merged = as_tensor(out, shape).to(at::kDouble).add_(change).to(at::kFloat).contiguous();
    std::memcpy(out.data(), merged.const_data_ptr(), out.size());
  }
};

void write_json(const fs::path& path, const Json& json) { write_file_atomically(path.string(), json.dump(2) + "\n"); }

const char* word_of(Pooling pooling) {
  return pooling == Pooling::cls ? "cls" : pooling == Pooling::mean ? "mean" : "max";
}
const char* word_of(HeadKind head) {
  return head == HeadKind::pooler ? "pooler" : head == HeadKind::linear ? "linear" : "mlp";
}

struct ExportParts {
  std::vector<Exported> body, head;
  std::vector<Exported> adapted;  ///< what was trained of a model with adapters, and its head
};

ExportParts parts_of(std::span<const std::shared_ptr<const FamilyLayer>> layers, const ModelDescription& model,
                     bool merges) {
  using Role = FamilyLayer::Role;
  ExportParts parts;
  for (std::uint32_t layer = 0; layer < layers.size(); ++layer) {
    const auto& parameters = model.layers[layer].parameters;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].tied_to) continue;
      const Role role = layers[layer]->role(i);
      Exported one{layer, i, {}};
      if (!parameters[i].frozen || role == Role::head) parts.adapted.push_back(one);
      if (role == Role::adapter) continue;
      const std::size_t down = i + 2;  // behind the weight and its bias
      const bool is_weight = parameters[i].decays && role == Role::body;
      if (merges && is_weight && down < parameters.size() && layers[layer]->role(down) == Role::adapter)
        one.down = down;
      (role == Role::head ? parts.head : parts.body).push_back(one);
    }
  }
  return parts;
}

constexpr const char* kHeadApart =
    "Its head is of a kind that transformers does not have: AutoModel loads the encoder, and head.safetensors with "
    "head.json is the rest (docs/CONFIG.md).";
constexpr const char* kBottleneckApart =
    "PEFT has no format for bottleneck adapters: adapter.safetensors and adapter.json hold what was trained, beside "
    "the "
    "base model (docs/CONFIG.md).";

}  // namespace

std::string ModelSource::export_to(const std::string& folder, const PartReader& read, ExportForm form) const {
  using Kind = AdapterSpec::Kind;
  const Kind kind = spec_.adapter.kind;
  const bool merges = form == ExportForm::merged && kind == Kind::lora, head_is_apart = family_->head_is_apart();
  if (form == ExportForm::merged && kind == Kind::bottleneck)
    fail(ExitCode::usage, "--merge: a bottleneck adapter is no change of a weight and cannot be merged; leave it out");
  if (kind == Kind::lora && !merges && head_is_apart)
    fail(ExitCode::usage,
         "PEFT cannot say what model.pooling and model.head of this trial are; export it with --merge");
  const BlockAdapter adapter = family_->adapter();
  const ExportSource source{description_, read, adapter.scale, family_->peft_traits().is_conv1d};
  const ExportParts parts = parts_of(layers_, description_, merges);
  const Json head_json = {{"pooling", word_of(spec_.pooling)}, {"head", word_of(spec_.head)}};
  make_folder(folder);
  const fs::path root(folder);
  write_json(root / "config.json", export_config(config_, family_->architecture(), spec_.task, shape_));
  copy_tokenizer(spec_.checkpoint, folder);
  if (kind == Kind::lora && !merges) {
    source.write(root / "adapter_model.safetensors", parts.adapted, kPeftPrefix);
    write_json(root / "adapter_config.json", peft_config(peft_description()));
    return "";
  }
  if (kind == Kind::bottleneck) {
    source.write(root / "adapter.safetensors", parts.adapted);
    Json json = {{"type", "bottleneck"}, {"size", adapter.size}, {"base_model_name_or_path", spec_.checkpoint}};
    json.update(head_json);
    write_json(root / "adapter.json", json);
    return kBottleneckApart;
  }
  std::vector<Exported> whole = parts.body;
  if (!head_is_apart) whole.insert(whole.end(), parts.head.begin(), parts.head.end());
  source.write(root / "model.safetensors", whole);
  if (!head_is_apart) return "";
  source.write(root / "head.safetensors", parts.head);
  write_json(root / "head.json", head_json);
  return kHeadApart;
}

PeftDescription ModelSource::peft_description() const {
  const BlockAdapter adapter = family_->adapter();
  const PeftTraits traits = family_->peft_traits();
  PeftDescription out{.base = spec_.checkpoint, .task = traits.task, .rank = adapter.rank};
  out.alpha = spec_.adapter.alpha.value_or(kAdapterAlpha);
  out.dropout = adapter.dropout;
  out.targets = adapter.targets;
  out.modules_to_save = traits.head;
  out.is_conv1d = traits.is_conv1d;
  out.blocks_pattern = traits.blocks;
  for (auto block = adapter.first_block; adapter.first_block > 0 && block + 2 < std::ssize(layers_); ++block)
    out.blocks.push_back(block);
  return out;
}

}  // namespace hopyard
