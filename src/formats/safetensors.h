// safetensors files in and out (the format of huggingface/safetensors). Foreign files are hostile: every number in the
// header is checked before it is used.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/files.h"

namespace hopyard {

enum class Dtype { boolean, u8, i8, i16, i32, i64, f16, bf16, f32, f64 };
Bytes dtype_bytes(Dtype dtype);
/// One of those that convert_to_f32 takes.
bool is_float(Dtype dtype);
/// "F32", "BF16", … as the format spells it.
std::string dtype_name(Dtype dtype);
/// Nothing when the word is unknown.
std::optional<Dtype> parse_dtype(std::string_view word);

struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
  Bytes offset = 0;  ///< from the start of the file
  Bytes bytes = 0;
};

/// A mapped file. Opening checks the header: its length against the file, JSON, known dtypes, shapes that do not
/// overflow and agree with the offsets, offsets inside the file, without overlap or gap. Failure(input) otherwise.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find(std::string_view name) const;
  /// Valid while this object lives. The start may be unaligned.
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;
  const std::string& path() const { return file_.path(); }

 private:
  MappedFile file_;
  std::vector<TensorInfo> tensors_;  // sorted by name
};

/// A Hugging Face checkpoint's tensors: model.safetensors, or the files named by model.safetensors.index.json (names in
/// it may not leave the folder). pytorch_model.bin alone gets a sentence on how to convert it.
class SafetensorsFolder {
 public:
  explicit SafetensorsFolder(const std::string& folder);
  const TensorInfo* find(std::string_view name) const;
  std::span<const std::byte> bytes(std::string_view name) const;
  std::vector<std::string> names() const;  ///< sorted
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::vector<std::pair<std::string, std::size_t>> index_;  // name → file, sorted
};

/// Writes tensors in the given order, data 64-byte aligned; `fill` is asked for each tensor's bytes in turn, so that
/// one tensor at a time is in memory. Written beside and renamed; durable on return.
struct TensorToWrite {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
};
void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                       const std::function<void(std::size_t index, std::span<std::byte> out)>& fill);

/// Converts `count` values of dtype `from` (f16, bf16, f32, f64) to float32. `in` may be unaligned.
void convert_to_f32(Dtype from, std::span<const std::byte> in, std::span<float> out);

}  // namespace hopyard
