// How a metric grows with the number of labelled rows, one line for each method: what a search over `train.rows` asks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/leaderboard.h"

namespace hopyard {

/// The setting that says on how many rows a trial trains.
inline constexpr const char* kRowsPath = "train.rows";

struct LearningPoint {
  std::int64_t rows = 0;
  double mean = 0, low = 0, high = 0;  ///< of the metric, over the trials that differ in nothing else
  std::vector<std::string> trials;
  bool operator==(const LearningPoint&) const = default;
};

/// A method is what trials set below `model`; of what else was tried with it, each point has the best by its mean.
struct LearningCurve {
  std::string method;                 ///< "adapter.type lora, adapter.rank 8"
  std::vector<LearningPoint> points;  ///< by rows, rising
  bool operator==(const LearningCurve&) const = default;
};

/// Of ranked rows, the best first. Empty unless trials trained on at least two numbers of rows; trials without a score
/// do not count.
std::vector<LearningCurve> learning_curves(const std::vector<LeaderboardRow>& rows);

/// A line for each method and a column for each number of rows, the best of each column marked with '*'. Empty where
/// there are no curves.
std::string format_learning_curves(const std::vector<LeaderboardRow>& rows);
/// The section of report.html; empty where there are no curves.
std::string learning_curve_section(const std::vector<LeaderboardRow>& rows);

}  // namespace hopyard
