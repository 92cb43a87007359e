// What came of judging a model on rows; plain values that add up.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/row_outcomes.h"

namespace hopyard {

/// How a trained model is judged; sums, so that micro-batches add up.
struct MetricSums {
  double loss = 0, correct = 0, squared_error = 0;
  std::int64_t items = 0;
  void add(const MetricSums& other);
  bool operator==(const MetricSums&) const = default;
};

struct Judged {
  MetricSums sums;
  RowOutcomes rows;
  void add(const Judged& more);
  bool operator==(const Judged&) const = default;
};

/// On one partition of the validation rows.
struct JudgedPartition {
  std::uint32_t partition = 0;
  Judged judged;
  bool operator==(const JudgedPartition&) const = default;
};

/// On all of them: added in this order, whoever judged which, so that the bits are the same. By partition, ascending.
Judged add_up(std::span<const JudgedPartition> partitions);

}  // namespace hopyard
