#include "runtime/predictions.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include "base/failure.h"
#include "formats/safetensors.h"

namespace hopyard {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPrefix = "predictions-";

/// That a file of predictions is of.
std::optional<double> epoch_of(const fs::path& path) {
  const std::string name = path.stem().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  double epoch = 0;
  const char* number = name.data() + std::strlen(kPrefix);
  const auto [end, error] = std::from_chars(number, name.data() + name.size(), epoch);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return epoch;
}

/// Tensors to be written, and their bytes.
class Tensors {
 public:
  template <class Value>
  void add(const std::string& name, Dtype dtype, const std::vector<Value>& values, std::int64_t width = 0) {
    if (values.empty()) return;
    const auto count = static_cast<std::int64_t>(values.size());
    std::vector<std::int64_t> shape{count};
    if (width > 0) shape = {count / width, width};
    tensors_.push_back({name, dtype, std::move(shape)});
    bytes_.push_back(std::as_bytes(std::span(values)));
  }
  void write(const std::string& path) const {
    const auto fill = [&](std::size_t index, std::span<std::byte> out) {
      std::memcpy(out.data(), bytes_[index].data(), out.size());
    };
    write_safetensors(path, tensors_, fill);
  }

 private:
  std::vector<TensorToWrite> tensors_;
  std::vector<std::span<const std::byte>> bytes_;
};

/// Empty when the file has no such tensor.
template <class Value>
std::vector<Value> read(const SafetensorsFile& file, const char* name, Dtype dtype) {
  const TensorInfo* tensor = file.find(name);
  if (tensor == nullptr) return {};
  if (tensor->dtype != dtype) fail(ExitCode::input, file.path(), ": tensor '", name, "' is not ", dtype_name(dtype));
  const auto bytes = file.bytes(*tensor);
  std::vector<Value> values(bytes.size() / sizeof(Value));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void check_rows(const SafetensorsFile& file, const RowOutcomes& rows) {
  const std::size_t count = rows.losses.size();
  for (const std::size_t size : {rows.correct.size(), rows.predicted.size(), rows.labels.size(), rows.targets.size()})
    if (size != 0 && size != count)
      fail(ExitCode::input, file.path(), ": has tensors of ", count, " and of ", size, " rows");
  if (count == 0 || rows.values.size() != count * rows.width)
    fail(ExitCode::input, file.path(), ": holds no whole predictions");
}

}  // namespace

void write_predictions(const std::string& path, const std::string& digest, const RowOutcomes& rows) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) fail(ExitCode::input, fs::path(path).parent_path().string(), ": cannot be created: ", error.message());
  const std::vector<char> digits(digest.begin(), digest.end());
  const bool classes = !rows.predicted.empty();
  Tensors tensors;
  tensors.add("labels", Dtype::i64, rows.labels);
  tensors.add("predicted", Dtype::i64, rows.predicted);
  tensors.add("loss", Dtype::f32, rows.losses);
  tensors.add("correct", Dtype::f32, rows.correct);
  tensors.add(classes ? "probabilities" : "values", Dtype::f32, rows.values, classes ? rows.width : 0);
  tensors.add("targets", Dtype::f32, rows.targets);
  tensors.add("digest", Dtype::u8, digits);
  tensors.write(path);
}

std::optional<RowOutcomes> read_predictions(const std::string& path, const std::string& digest) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  const SafetensorsFile file(path);
  const auto digits = read<char>(file, "digest", Dtype::u8);
  if (std::string(digits.begin(), digits.end()) != digest) return std::nullopt;
  RowOutcomes rows;
  rows.labels = read<std::int64_t>(file, "labels", Dtype::i64);
  rows.predicted = read<std::int64_t>(file, "predicted", Dtype::i64);
  rows.losses = read<float>(file, "loss", Dtype::f32);
  rows.correct = read<float>(file, "correct", Dtype::f32);
  rows.targets = read<float>(file, "targets", Dtype::f32);
  rows.values = read<float>(file, "values", Dtype::f32);
  rows.width = rows.values.empty() ? 0 : 1;
  if (const TensorInfo* probabilities = file.find("probabilities")) {
    rows.values = read<float>(file, "probabilities", Dtype::f32);
    rows.width = probabilities->shape.size() == 2 ? static_cast<std::uint32_t>(probabilities->shape[1]) : 0;
  }
  check_rows(file, rows);
  return rows;
}

std::string predictions_path(const std::string& trials_folder, const std::string& trial, const Epochs& epoch) {
  return text::cat(trials_folder, "/", trial, "/", kPrefix, epoch, ".safetensors");
}

void keep_predictions(const std::string& trials_folder, const TrialScore& score, const RowOutcomes& rows) {
  const fs::path path = predictions_path(trials_folder, score.trial, score.epoch);
  write_predictions(path, score.digest, rows);
  std::vector<std::pair<double, fs::path>> before;
  for (const auto& entry : fs::directory_iterator(path.parent_path()))
    if (const auto epoch = epoch_of(entry.path()); epoch && *epoch < score.epoch.value() && entry.path() != path)
      before.emplace_back(*epoch, entry.path());
  std::sort(before.begin(), before.end());
  std::error_code ignored;
  for (std::size_t i = 0; i + 1 < before.size(); ++i) fs::remove(before[i].second, ignored);
}

}  // namespace hopyard
