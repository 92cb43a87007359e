// Whether a row's activations depend on its company: the probe says what a plain loop over every batch finds.
#include "pipeline/row_probe.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "fakes/feature_world.h"
#include "fakes/small_world.h"
#include "fakes/whole_model.h"
#include "model/layer.h"

namespace hopyard {
namespace {

/// What the frozen layers give for these rows as one batch.
at::Tensor run(const ModelSource& source, const Dataset& data, std::uint32_t end_layer,
               const std::vector<std::uint32_t>& rows, Precision precision) {
  const at::NoGradGuard no_graph;
  fakes::WholeModel whole(source, 0, {}, precision);
  const Batch batch = make_batches(data, source.spec().task, rows, static_cast<std::uint32_t>(rows.size())).front();
  at::Tensor x;
  for (std::uint32_t l = 0; l < end_layer; ++l) x = whole.module(l).forward(x, batch, Pass());
  return x;
}

/// Compares rows of every window of each size with those of batches of `micro_batch_size`.
bool all_alike(const ModelSource& source, const Dataset& data, std::uint32_t end_layer, std::uint32_t micro_batch_size,
               const std::vector<std::uint32_t>& sizes, Precision precision) {
  const auto window = [&](std::uint32_t begin, std::uint32_t size) {
    std::vector<std::uint32_t> rows;
    for (std::uint32_t i = 0; i < size; ++i) rows.push_back((begin + i) % data.rows());
    return rows;
  };
  for (std::uint32_t begin = 0; begin < data.rows(); ++begin) {
    const at::Tensor whole = run(source, data, end_layer, window(begin, micro_batch_size), precision);
    for (const auto size : sizes) {
      const at::Tensor part = run(source, data, end_layer, window(begin, size), precision);
      if (!at::equal(part, whole.narrow(0, 0, size))) return false;
    }
    const at::Tensor next = run(source, data, end_layer, window(begin + 1, micro_batch_size), precision);
    if (!at::equal(next.select(0, 0), whole.select(0, 1))) return false;
  }
  return true;
}

TEST(RowProbeTest, SaysWhatEveryBatchShows) {
  at::set_num_threads(1);
  const fakes::FeatureWorld features(12);
  const fakes::SmallWorld bert(fakes::kTinyBert, 12);
  const auto perceptron = features.source(4), encoder = bert.source(ModelTask::sequence_classification, 3);
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp16})
    for (const std::uint32_t micro : {2u, 4u, 7u})
      for (std::uint32_t size = 1; size < micro; ++size) {
        const auto what = text::cat(to_string(precision), " ", micro, " ", size);
        EXPECT_EQ(rows_are_independent(*perceptron, *features.data, 4, micro, {size}, precision, unbounded_cpu(1)),
                  all_alike(*perceptron, *features.data, 4, micro, {size}, precision))
            << what;
        EXPECT_EQ(rows_are_independent(*encoder, *bert.data, 3, micro, {size}, precision, unbounded_cpu(1)),
                  all_alike(*encoder, *bert.data, 3, micro, {size}, precision))
            << what;
      }
}

TEST(RowProbeTest, KnowsTheSizesThatOccur) {
  using Sizes = std::vector<std::uint32_t>;
  EXPECT_EQ(partial_sizes(32, 8, 4), Sizes());
  EXPECT_EQ(partial_sizes(35, 8, 4), Sizes({3}));
  EXPECT_EQ(partial_sizes(36, 10, 4), (Sizes{2, 2}));  // of a whole batch, and of the last
  EXPECT_EQ(partial_sizes(5, 8, 8), (Sizes{5, 5}));
  EXPECT_EQ(partial_sizes(0, 8, 8), Sizes());
}

}  // namespace
}  // namespace hopyard
