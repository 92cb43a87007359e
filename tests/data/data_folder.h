// A small data folder of two parts, to read as it is or to spoil.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "fakes/temporary_folder.h"
#include "formats/json.h"
#include "formats/safetensors.h"

namespace hopyard::fakes {

/// 5 rows in parts of 3 and 2: ids [2] I32 = 10·row, 10·row + 1; mask [2] U8 = 1, 0; score F16 = row / 2; labels I32 =
/// row % 3.
class DataFolder {
 public:
  DataFolder() {
    write_part("part-00000.safetensors", 0, 3);
    write_part("part-00001.safetensors", 3, 2);
    write_json(json());
  }

  static Json json() {
    return parse_json(R"({"format": "hopyard-dataset", "version": 1, "rows": 5,
      "columns": {"ids": {"dtype": "I32", "shape": [2]}, "mask": {"dtype": "U8", "shape": [2]},
                  "score": {"dtype": "F16", "shape": []}, "labels": {"dtype": "I32", "shape": []}},
      "labels": ["x", "y", "z"], "vocabulary": 50, "source": {"file": "a.jsonl"},
      "parts": [{"file": "part-00000.safetensors", "rows": 3}, {"file": "part-00001.safetensors", "rows": 2}]})",
                      "json");
  }
  void write_json(const Json& json) const { folder_.write("dataset.json", json.dump()); }

  /// `labels` rows of labels, which may differ from `rows`.
  void write_part(const std::string& name, int first, int rows, int labels = -1) const {
    if (labels < 0) labels = rows;
    const std::vector<TensorToWrite> tensors{{"labels", Dtype::i32, {labels}},
                                             {"ids", Dtype::i32, {rows, 2}},
                                             {"score", Dtype::f16, {rows}},
                                             {"mask", Dtype::u8, {rows, 2}}};
    write_safetensors(folder_ / name, tensors, [&](std::size_t index, std::span<std::byte> out) {
      constexpr std::uint16_t halves[] = {0x0000, 0x3800, 0x3c00, 0x3e00, 0x4000};  // 0, 0.5, 1, 1.5, 2
      for (std::size_t i = 0; i < out.size() / (index == 3 ? 1 : index == 2 ? 2 : 4); ++i) {
        const int row = first + static_cast<int>(index == 1 || index == 3 ? i / 2 : i);
        const std::int32_t whole = index == 0 ? row % 3 : row * 10 + static_cast<int>(i % 2);
        if (index < 2) std::memcpy(out.data() + 4 * i, &whole, 4);
        if (index == 2) std::memcpy(out.data() + 2 * i, &halves[row % 5], 2);
        if (index == 3) out[i] = static_cast<std::byte>(i % 2 == 0);
      }
    });
  }

  const std::string& path() const { return folder_.path(); }
  std::string operator/(const std::string& name) const { return folder_ / name; }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
};

}  // namespace hopyard::fakes
