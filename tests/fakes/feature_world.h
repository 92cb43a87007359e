// A small multilayer perceptron whose layers are of different widths, on random feature vectors.
#pragma once

#include <cstring>
#include <filesystem>

#include "base/rng.h"
#include "base/text.h"
#include "data/dataset.h"
#include "fakes/temporary_folder.h"
#include "pipeline/batches.h"

namespace hopyard::fakes {

/// Folders model/ (config.json alone) and data/ with `rows` rows of 10 features in two classes.
class FeatureWorld {
 public:
  explicit FeatureWorld(std::uint32_t rows = 40) {
    std::filesystem::create_directories(folder / "model");
    std::filesystem::create_directories(folder / "data");
    folder.write("model/config.json", R"({"model_type":"mlp","input_size":10,"hidden_sizes":[24,8,40,16]})");
    const std::int64_t n = rows;
    const std::vector<TensorToWrite> columns{{"features", Dtype::f32, {n, 10}}, {"labels", Dtype::i32, {n}}};
    KeyedStream stream(3);
    write_safetensors(folder / "data/part.safetensors", columns, [&](std::size_t index, std::span<std::byte> out) {
      for (std::size_t i = 0; i < out.size(); i += 4) {
        const auto drawn = stream.below(index == 0 ? 1000 : 2);
        const float feature = static_cast<float>(drawn) / 500 - 1;
        const auto label = static_cast<std::int32_t>(drawn);
        if (index == 0)
          std::memcpy(out.data() + i, &feature, 4);
        else
          std::memcpy(out.data() + i, &label, 4);
      }
    });
    folder.write("data/dataset.json", text::cat(R"({"format":"hopyard-dataset","version":1,"rows":)", rows,
                                                R"(,"columns":{"features":{"dtype":"F32","shape":[10]},)",
                                                R"("labels":{"dtype":"I32","shape":[]}},"labels":["a","b"],)",
                                                R"("parts":[{"file":"part.safetensors","rows":)", rows, "}]}"));
    data = std::make_shared<Dataset>(folder / "data");
  }

  std::shared_ptr<ModelSource> source(std::int64_t freeze = 0) const {
    ModelSpec spec;
    spec.checkpoint = folder / "model";
    spec.freeze = freeze;
    return std::make_shared<ModelSource>(spec, data_shape(*data, spec.task));
  }

  TemporaryFolder folder;
  std::shared_ptr<Dataset> data;
};

}  // namespace hopyard::fakes
