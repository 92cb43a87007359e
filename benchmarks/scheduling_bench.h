// How good the schedules are, and how fast they are made.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hopyard {

/// One cell of Hydra's Fig. 7: Sharded-LRTF's makespan ÷ max(longest trial, total ÷ devices); 1 is optimal.
struct Fig7Row {
  std::string name;
  double ratio;
};
/// 8 or 64 models on 4 or 8 devices; equal (2 h, 2,000 units each) or drawn at random (0.5–4 h, 100–10,000 units; the
/// worst of several draws), no transfers. Seconds of work.
std::vector<Fig7Row> bench_fig7();

/// Microseconds for one decision of Sharded-LRTF among `trials` idle ones: pick, remove, and add back with less to do.
double scheduling_decision_us(std::size_t trials);

}  // namespace hopyard
