// What layers cost, measured: which layers are run, and on what input.
#include "pipeline/profiler.h"

#include <gtest/gtest.h>

#include <fstream>

#include "fakes/small_world.h"
#include "fakes/temporary_folder.h"

namespace hopyard {
namespace {

/// Rows of `width` features in two classes.
Dataset feature_rows(const fakes::TemporaryFolder& folder, std::int64_t width) {
  constexpr std::int64_t kRows = 8;
  const std::vector<TensorToWrite> columns{{"features", Dtype::f32, {kRows, width}}, {"labels", Dtype::i32, {kRows}}};
  write_safetensors(folder / "part.safetensors", columns,
                    [](std::size_t, std::span<std::byte> out) { std::fill(out.begin(), out.end(), std::byte{0}); });
  folder.write("dataset.json", text::cat(R"({"format":"hopyard-dataset","version":1,"rows":)", kRows,
                                         R"(,"columns":{"features":{"dtype":"F32","shape":[)", width,
                                         R"(]},"labels":{"dtype":"I32","shape":[]}},"labels":["a","b"],)",
                                         R"("parts":[{"file":"part.safetensors","rows":)", kRows, "}]}"));
  return Dataset(folder / ".");
}

TEST(ProfilerTest, EachLayerGetsTheBorderOfTheOneBeforeItAlsoWhereThatWasKnown) {
  const fakes::TemporaryFolder folder;
  folder.write("config.json", R"({"model_type":"mlp","input_size":10,"hidden_sizes":[20,10,20,10,20,30]})");
  const Dataset data = feature_rows(folder, 10);
  ModelSpec spec;
  spec.checkpoint = folder / ".";
  spec.task = ModelTask::sequence_classification;
  const ModelSource source(spec, data_shape(data, spec.task));
  TrainSpec train;
  train.batch_size = train.micro_batch_size = 8;
  const auto costs = profile_layers(source, data, train, unbounded_cpu(1));
  ASSERT_EQ(costs.size(), 7u);
  EXPECT_EQ(costs[1].forward_s, costs[3].forward_s) << "20 → 10 is run once";
  EXPECT_EQ(costs[2].forward_s, costs[4].forward_s) << "and so is 10 → 20";
  EXPECT_NE(costs[0].backward_s, costs[2].backward_s) << "but the first layer passes no gradient down";
  for (const auto& cost : costs) EXPECT_GT(cost.backward_s, 0) << cost.name;
}

TEST(ProfilerTest, LayersOfOneKindAreRunOnceAndFrozenOnesApart) {
  const fakes::SmallWorld world(fakes::kTinyBert);
  const auto source = world.source(ModelTask::sequence_classification, 3);
  TrainSpec train;
  train.batch_size = train.micro_batch_size = 4;
  const auto costs = profile_layers(*source, *world.data, train, unbounded_cpu(1));
  EXPECT_EQ(costs[1].forward_s, costs[2].forward_s);
  EXPECT_EQ(costs[3].forward_s, costs[4].forward_s);
  EXPECT_NE(costs[2].forward_s, costs[3].forward_s);
  EXPECT_EQ(costs[2].backward_s, 0);
}

}  // namespace
}  // namespace hopyard
