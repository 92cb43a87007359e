// What is kept of each row against what is judged of all of them.
#include "model/judge.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "fakes/small_world.h"

namespace hopyard {
namespace {

double sum(const std::vector<float>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

class RowOutcomesTest : public ::testing::Test {
 protected:
  Batch batch(ModelTask task) const {
    std::vector<std::uint32_t> rows(6);
    std::iota(rows.begin(), rows.end(), 3u);
    return make_batches(*world_.data, task, rows, 6).front();
  }
  /// In two micro-batches.
  static Judged judged(const ModelSource& source, const at::Tensor& logits, const Batch& rows) {
    Judge judge(source);
    const auto half = [](const at::Tensor& value, std::int64_t begin) {
      return value.defined() ? value.slice(0, begin, begin + 3) : value;
    };
    for (const std::int64_t begin : {0, 3})
      judge.add(half(logits, begin),
                {half(rows.inputs, begin), half(rows.attention_mask, begin), half(rows.labels, begin)});
    return judge.read();
  }
  /// The loss that training minimises, of all at once.
  static double loss(const ModelSource& source, const at::Tensor& logits, const Batch& rows) {
    return source.loss(logits, rows).sum.item<double>();
  }

  fakes::SmallWorld world_{fakes::kTinyBert}, tokens_world_{fakes::kTinyGpt2};
};

TEST_F(RowOutcomesTest, OfClassesAddUpToWhatIsJudged) {
  const auto source = world_.source(ModelTask::sequence_classification);
  const Batch rows = batch(ModelTask::sequence_classification);
  const at::Tensor logits = at::linspace(-2, 3, 18, at::kFloat).sin().view({6, 3}) * 4;
  const auto [sums, outcomes] = judged(*source, logits, rows);
  EXPECT_NEAR(sums.loss, loss(*source, logits, rows), 1e-5 * std::abs(sums.loss));
  EXPECT_NEAR(sum(outcomes.losses), sums.loss, 1e-5 * std::abs(sums.loss));
  EXPECT_EQ(sum(outcomes.correct), sums.correct);
  ASSERT_EQ(outcomes.values.size(), 18u);
  EXPECT_EQ(outcomes.width, 3u);
  for (std::size_t i = 0; i < 6; ++i) {
    const float* row = &outcomes.values[i * 3];
    EXPECT_NEAR(row[0] + row[1] + row[2], 1, 1e-6);
    EXPECT_NEAR(-std::log(row[outcomes.labels[i]]), outcomes.losses[i], 1e-5);
    EXPECT_EQ(std::max_element(row, row + 3) - row, outcomes.predicted[i]);
    EXPECT_EQ(outcomes.correct[i], outcomes.predicted[i] == outcomes.labels[i] ? 1 : 0);
  }
}

TEST_F(RowOutcomesTest, OfTokensAreMeansOverARow) {
  const auto source = tokens_world_.source(ModelTask::causal_lm);
  const Batch rows = batch(ModelTask::causal_lm);
  const at::Tensor logits = at::linspace(0, 900, 6 * 8 * 97, at::kFloat).sin().view({6, 8, 97}) * 3;
  const auto [sums, outcomes] = judged(*source, logits, rows);
  EXPECT_NEAR(sums.loss, loss(*source, logits, rows), 1e-5 * std::abs(sums.loss));
  ASSERT_EQ(outcomes.losses.size(), 6u);
  EXPECT_TRUE(outcomes.values.empty());
  EXPECT_TRUE(outcomes.predicted.empty());
  EXPECT_NEAR(sum(outcomes.losses) * 7, sums.loss, 1e-5 * sums.loss);
  EXPECT_NEAR(sum(outcomes.correct) * 7, sums.correct, 1e-5);
}

TEST_F(RowOutcomesTest, OfValuesAreSquaredErrors) {
  const auto source = world_.source(ModelTask::regression);
  const Batch rows = batch(ModelTask::regression);
  const at::Tensor logits = at::linspace(-1, 2, 6, at::kFloat).view({6, 1});
  const auto [sums, outcomes] = judged(*source, logits, rows);
  EXPECT_NEAR(sums.squared_error, loss(*source, logits, rows), 1e-5);
  EXPECT_NEAR(sum(outcomes.losses), sums.loss, 1e-5);
  ASSERT_EQ(outcomes.targets.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i)
    EXPECT_FLOAT_EQ(std::pow(outcomes.values[i] - outcomes.targets[i], 2.0f), outcomes.losses[i]);
}

TEST(RowOutcomes, AddUpRowByRowWithinABound) {
  RowOutcomes all, part;
  part.losses.assign(1024, 1);
  part.width = 2048;
  part.values.assign(1024 * 2048, 0.5f);
  all.add(part);
  EXPECT_EQ(all, part);
  all.add(part);
  EXPECT_EQ(all.values.size(), kOutcomeValuesMax);
  all.add(part);
  EXPECT_EQ(all.width, 0u);
  EXPECT_TRUE(all.values.empty()) << "too many to be kept, so that none are";
  all.add(part);
  EXPECT_TRUE(all.values.empty());
  EXPECT_EQ(all.losses.size(), 4096u);
}

}  // namespace
}  // namespace hopyard
