#include "report/learning_curve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hopyard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A ranked row of a trial of one method.
LeaderboardRow row(std::uint32_t rank, const std::string& trial, const std::vector<Setting>& model, std::int64_t rows,
                   double lr, double metric) {
  LeaderboardRow out;
  out.rank = rank;
  out.trial = trial;
  out.settings = model;
  out.settings.push_back({"train.rows", rows});
  out.settings.push_back({"train.optimizer.lr", lr});
  out.metric = metric;
  out.metric_name = "valid/accuracy";
  return out;
}

const std::vector<Setting> kFull{{"model.freeze", std::int64_t{0}}};
const std::vector<Setting> kLora{{"model.adapter.type", std::string("lora")}, {"model.adapter.rank", std::int64_t{8}}};

std::vector<LeaderboardRow> rows() {
  return {row(1, "t0", kFull, 2000, 1e-4, 0.9), row(2, "t1", kLora, 2000, 1e-3, 0.8),
          row(3, "t2", kLora, 500, 1e-3, 0.7),  row(4, "t3", kFull, 2000, 1e-5, 0.65),
          row(5, "t4", kFull, 500, 1e-4, 0.6),  row(6, "t5", kLora, 500, 1e-3, 0.5)};
}

TEST(LearningCurve, HasTheBestOfEachMethodAtEachNumberOfRows) {
  const auto curves = learning_curves(rows());
  ASSERT_EQ(curves.size(), 2u);
  EXPECT_EQ(curves[0].method, "freeze 0");
  EXPECT_THAT(curves[0].points,
              ElementsAre(LearningPoint{500, 0.6, 0.6, 0.6, {"t4"}}, LearningPoint{2000, 0.9, 0.9, 0.9, {"t0"}}));
  EXPECT_EQ(curves[1].method, "adapter.type lora, adapter.rank 8");
  ASSERT_EQ(curves[1].points.size(), 2u);
  const LearningPoint& twice = curves[1].points[0];  // two trials with the same settings: seeds
  EXPECT_DOUBLE_EQ(twice.mean, 0.6);
  EXPECT_EQ(twice.low, 0.5);
  EXPECT_EQ(twice.high, 0.7);
  EXPECT_THAT(twice.trials, ElementsAre("t2", "t5"));
}

TEST(LearningCurve, OfALossHasTheLowest) {
  std::vector<LeaderboardRow> losses{row(1, "t0", kFull, 2000, 1e-4, 0.1), row(2, "t1", kFull, 500, 1e-4, 0.2),
                                     row(3, "t2", kFull, 500, 1e-5, 0.3)};
  const auto curves = learning_curves(losses);
  ASSERT_EQ(curves.size(), 1u);
  EXPECT_EQ(curves[0].points[0].mean, 0.2);
}

TEST(LearningCurve, NeedsTwoNumbersOfRowsAndScores) {
  EXPECT_TRUE(learning_curves({}).empty());
  std::vector<LeaderboardRow> one{row(1, "t0", kFull, 2000, 1e-4, 0.1), row(2, "t1", kLora, 2000, 1e-4, 0.2)};
  EXPECT_TRUE(learning_curves(one).empty());
  one.push_back(row(0, "t2", kFull, 500, 1e-4, 0));  // unranked: it failed
  EXPECT_TRUE(learning_curves(one).empty());
  EXPECT_EQ(format_learning_curves(one), "");
  EXPECT_EQ(learning_curve_section(one), "");
}

TEST(LearningCurve, AsATable) {
  EXPECT_EQ(format_learning_curves(rows()),
            "valid/accuracy by labelled rows, the best that was tried of each method (* of all):\n"
            "  method                             500 rows   2000 rows\n"
            "  freeze 0                             0.6000*     0.9000*\n"
            "  adapter.type lora, adapter.rank 8    0.6000*     0.8000\n");
}

TEST(LearningCurve, AsAPlot) {
  const std::string html = learning_curve_section(rows());
  EXPECT_THAT(html, HasSubstr("id=\"learning-curve\""));
  EXPECT_THAT(html, HasSubstr("labelled rows"));
  EXPECT_THAT(html,
              HasSubstr("adapter.type lora, adapter.rank 8, 500 rows: 0.6000 (0.5000 to 0.7000, 2 trials); t2, t5"));
}

}  // namespace
}  // namespace hopyard
