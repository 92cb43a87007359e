#include "prediction_bench.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "sweeps.h"

namespace hopyard {

namespace {

struct Shape {
  std::string name;
  SweepText text;
};

std::vector<Shape> shapes(const SweepData& data, std::uint32_t rows) {
  const std::string rates = "optimizer: {type: adamw, lr: {grid: [3.0e-5, 1.0e-4, 3.0e-4, 1.0e-3]}}";
  const std::string emulated = data.small ? "{type: emulated, count: 2, memory: 4MiB, link: 1GiB/s}"
                                          : "{type: emulated, count: 2, memory: 256MiB, link: 4GiB/s}";
  std::vector<Shape> all{
      {"whole models", {rows, "freeze: 0", "epochs: 1, batch_size: 32, " + rates, "method: grid"}},
      {"half frozen, alone", {rows, "freeze: 4", "epochs: 1, batch_size: 32, " + rates, "method: grid"}},
      {"heads behind shared layers",
       {rows, "freeze: " + data.all_but_head(), "epochs: 3, batch_size: 32, " + rates, "method: grid"}},
      {"small batches, clipped",
       {rows, "freeze: 3", "epochs: 1, batch_size: 16, micro_batch_size: 8, clip_norm: 1.0, " + rates, "method: grid"}},
      {"cut for emulated devices", {rows, "freeze: 0", "epochs: 1, batch_size: 32, " + rates, "method: grid"}}};
  all[1].text.execute = "sharing: off";
  all[4].text.devices = emulated;
  return all;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

std::string percent(double share) { return text::format_number(100 * share, 1) + " %"; }

}  // namespace

std::vector<BenchRow> bench_prediction(const BenchScale& scale) {
  const SweepData data(scale.quick);
  std::vector<double> trials, makespans;
  std::string trial_detail, makespan_detail;
  for (const auto& shape : shapes(data, std::max(1u, scale.sharing_rows / 2))) {
    const auto result = run_whole(sweep_config(data, shape.text));
    std::vector<double> own;
    for (const auto& time : result.plan.times) {
      const double measured = result.device_s.at(time.id);
      own.push_back(std::abs(time.device_s - measured) / measured);
    }
    trials.insert(trials.end(), own.begin(), own.end());
    makespans.push_back(std::abs(result.plan.predicted_s - result.wall_s) / result.wall_s);
    const char* comma = trial_detail.empty() ? "" : "; ";
    trial_detail += text::cat(comma, shape.name, " ", percent(median(own)));
    makespan_detail += text::cat(comma, shape.name, " ", text::format_number(result.plan.predicted_s, 1), " s to ",
                                 text::format_number(result.wall_s, 1), " s");
  }
  return {{"|predicted − measured| ÷ measured device time of a trial, median", median(trials), "ratio", 0.15,
           std::nullopt, true, trial_detail},
          {"|predicted − measured| ÷ measured makespan of a sweep, median", median(makespans), "ratio", 0.15,
           std::nullopt, true, makespan_detail}};
}

}  // namespace hopyard
