// What dataset.json says about the columns against what tasks need.
#include "pipeline/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"

namespace hopyard {
namespace {

using testing::HasSubstr;

struct Column {
  std::string name;
  Dtype dtype;
  std::vector<std::int64_t> shape;  ///< of a row
};
const Column kIds{"input_ids", Dtype::i32, {4}};
const Column kFeatures{"features", Dtype::f32, {4}};
const Column kLabels{"labels", Dtype::i32, {}};

/// Three rows of zeros.
Dataset rows_of(const fakes::TemporaryFolder& folder, std::vector<Column> columns) {
  std::sort(columns.begin(), columns.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  Json described = Json::object();
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, dtype, shape] : columns) {
    described[name] = {{"dtype", dtype_name(dtype)}, {"shape", shape}};
    tensors.push_back({name, dtype, {3}});
    tensors.back().shape.insert(tensors.back().shape.end(), shape.begin(), shape.end());
  }
  write_safetensors(folder / "part.safetensors", tensors,
                    [](std::size_t, std::span<std::byte> out) { std::fill(out.begin(), out.end(), std::byte{0}); });
  const Json json{{"format", "hopyard-dataset"},
                  {"version", 1},
                  {"rows", 3},
                  {"columns", described},
                  {"labels", {"a", "b"}},
                  {"parts", Json::array({{{"file", "part.safetensors"}, {"rows", 3}}})}};
  folder.write("dataset.json", json.dump());
  return Dataset(folder.path());
}

std::string refusal(const std::vector<Column>& columns, ModelTask task) {
  const fakes::TemporaryFolder folder;
  const Dataset data = rows_of(folder, columns);
  return fakes::failure_of(ExitCode::input, [&] { data_shape(data, task); });
}

TEST(DataShapeTest, SaysWhatARowIs) {
  const fakes::TemporaryFolder folder, other;
  const DataShape ids = data_shape(rows_of(folder, {kIds, kLabels}), ModelTask::sequence_classification);
  EXPECT_EQ(ids.input, DataShape::Input::input_ids);
  EXPECT_EQ(ids.tokens, 4);
  EXPECT_EQ(ids.classes, 2);
  const DataShape features = data_shape(rows_of(other, {kFeatures, kLabels}), ModelTask::regression);
  EXPECT_EQ(features.input, DataShape::Input::features);
  EXPECT_EQ(features.classes, 1);
}

TEST(DataShapeTest, LabelsAreOneValueARow) {
  const Column wide{"labels", Dtype::i32, {1}};
  for (const ModelTask task : {ModelTask::regression, ModelTask::sequence_classification}) {
    EXPECT_THAT(refusal({kFeatures, wide}, task), HasSubstr("'labels' must hold one value a row"));
    EXPECT_THAT(refusal({kFeatures}, task), HasSubstr("no column 'labels'"));
  }
}

TEST(DataShapeTest, AMaskHasAValueForEachToken) {
  EXPECT_THAT(refusal({kIds, kLabels, {"attention_mask", Dtype::u8, {5}}}, ModelTask::causal_lm),
              HasSubstr("'input_ids'"));
  EXPECT_THAT(refusal({kIds, kLabels, {"attention_mask", Dtype::u8, {}}}, ModelTask::causal_lm),
              HasSubstr("'input_ids'"));
}

TEST(DataShapeTest, ThereIsOneInput) {
  EXPECT_THAT(refusal({kLabels}, ModelTask::regression), HasSubstr("neither"));
  EXPECT_THAT(refusal({kIds, kFeatures, kLabels}, ModelTask::regression), HasSubstr("both"));
  EXPECT_THAT(refusal({{"input_ids", Dtype::i32, {2, 2}}}, ModelTask::causal_lm), HasSubstr("one axis"));
}

}  // namespace
}  // namespace hopyard
