#include "sharing_bench.h"

#include "base/failure.h"
#include "sweeps.h"

namespace hopyard {

namespace {

BenchRow compare(const std::string& name, const SweepData& data, SweepText text, double must,
                 std::optional<double> aim) {
  text.execute = "sharing: auto";
  const auto on = run_whole(sweep_config(data, text));
  text.execute = "sharing: off";
  const auto off = run_whole(sweep_config(data, text));
  require(on.outcomes == off.outcomes && !on.outcomes.empty(), "sharing changed what a sweep gives");
  require(!on.plan.sharing.empty(), "nothing was shared");
  Bytes features = 0;
  for (const auto& depth : on.plan.sharing) features += depth.bytes;
  return {name,
          off.wall_s / on.wall_s,
          "ratio",
          must,
          aim,
          false,
          text::cat(text::format_number(off.wall_s, 1), " s ÷ ", text::format_number(on.wall_s, 1),
                    " s, same digests; as planned (Nautilus' bound) ",
                    text::format_number(off.plan.predicted_s / on.plan.predicted_s, 2), "; materialised at ",
                    on.plan.sharing.size(), " depths, ", text::format_bytes(features), ", in ",
                    text::format_number(on.materialise_s, 1), " s of device time; ", text.rows, " rows")};
}

BenchRow compare_heads(const SweepData& data, std::uint32_t rows) {
  SweepText text;
  text.rows = rows;
  text.model = "freeze: " + data.all_but_head();
  text.train = "epochs: 3, batch_size: 32, optimizer: {type: adamw, lr: {grid: [1.0e-4, 3.0e-4, 1.0e-3, 3.0e-3]}}";
  text.search = "method: grid, seeds: 3";
  return compare("12 trials (4 learning rates × 3 seeds), all frozen but the head, sharing off ÷ on", data, text, 5,
                 15);
}

/// Each depth, and the head alone at four more learning rates.
BenchRow compare_depths(const SweepData& data, std::uint32_t rows) {
  std::string joint;
  for (int depth = 0; depth <= std::stoi(data.all_but_head()); ++depth)
    joint += text::cat("{model: {freeze: ", depth, "}, train: {optimizer: {lr: 1.0e-4}}}, ");
  for (const char* lr : {"3.0e-4", "1.0e-3", "3.0e-3", "1.0e-2"})
    joint += text::cat("{model: {freeze: ", data.all_but_head(), "}, train: {optimizer: {lr: ", lr, "}}}, ");
  SweepText text;
  text.rows = rows;
  text.train = "epochs: 3, batch_size: 32, optimizer: {type: adamw}";
  text.search = text::cat("method: grid, joint: [", joint, "]");
  return compare("12 trials, freeze depths 0 to 7 mixed (the head alone five times), sharing off ÷ on", data, text, 1.5,
                 std::nullopt);
}

}  // namespace

std::vector<BenchRow> bench_sharing(const BenchScale& scale) {
  const SweepData data(scale.quick);
  return {compare_heads(data, scale.sharing_rows), compare_depths(data, scale.sharing_rows)};
}

}  // namespace hopyard
