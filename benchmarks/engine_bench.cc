#include "engine_bench.h"

#include <algorithm>
#include <functional>

#include "base/text.h"
#include "engine_trials.h"

namespace hopyard {

namespace {

/// Median of several measured ratios, with their spread as text.
struct Median {
  double value = 0;
  std::string spread;
};

Median median_of(int rounds, const std::function<double()>& measure) {
  std::vector<double> values;
  for (int i = 0; i < rounds; ++i) values.push_back(measure());
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], text::cat("median of ", rounds, ", ", text::format_number(values.front(), 3),
                                               " to ", text::format_number(values.back(), 3))};
}

/// 2,048 tokens a step, so that the processor time of emulating the links stays small beside that of computing.
BenchModel small_model(const BenchScale& scale) {
  return BenchModel(scale.quick ? 64 : 192, 8, 512, scale.quick ? 32 : 128, scale.quick ? 8 : 16);
}

std::uint32_t steps_of(const BenchScale& scale) { return scale.quick ? 2 : 4; }

/// The link at which moving the bytes of a step takes `ratio` times as long as computing it.
double link_for(const EngineTimes& probe, double compute_s, double ratio) {
  return static_cast<double>(std::max(probe.loaded, probe.stored)) / (compute_s * ratio);
}

EngineTimes with_link(const BenchModel& model, EngineRun run, double link) {
  run.emulated = true;
  run.link_bytes_per_s = link;
  return run_engine(model, run);
}

EngineRun four_trials_on_two_devices(const BenchModel& model, const BenchScale& scale) {
  EngineRun run;
  run.cuts = even_cuts(*model.source, 2);
  run.execute.keep_activations = false;  // the yardsticks recompute too
  run.steps = steps_of(scale);
  run.trials = 4;
  run.devices = 2;
  return run;
}

EngineTimes without_link(const BenchModel& model, EngineRun run) {
  run.emulated = false;
  return run_engine(model, run);
}

}  // namespace

std::vector<BenchRow> bench_resident(const BenchScale& scale) {
  const BenchModel model = small_model(scale);
  const std::uint32_t steps = 2;  // many short pairs: what the machine does changes within seconds
  bool bare_first = false;
  const Median ratio = median_of(scale.quick ? 1 : 21, [&] {
    EngineRun run;
    run.steps = steps;
    bare_first = !bare_first;  // a machine that drifts favours neither
    const double before = bare_first ? run_bare_loop(model, steps, 1) : 0;
    const double engine = without_link(model, run).wall_s;
    return engine / (bare_first ? before : run_bare_loop(model, steps, 1));
  });
  return {{"resident step ÷ bare libtorch loop", ratio.value, "ratio", 1.03, 1.01, true, ratio.spread}};
}

std::vector<BenchRow> bench_one_cut_trial(const BenchScale& scale) {
  const BenchModel model = small_model(scale);
  EngineRun run;
  run.execute.keep_activations = false;  // the yardstick recomputes too
  run.cuts = even_cuts(*model.source, 2);
  run.steps = 2 * steps_of(scale);  // the last stores of a run hide behind nothing
  const EngineTimes probe = with_link(model, run, 100e9);
  std::vector<BenchRow> rows;
  double worst = 0;
  std::string detail;
  for (const double transfer : {0.5, 1.0, 2.0}) {
    const Median ratio = median_of(scale.quick ? 1 : 3, [&] {
      const double compute_s = without_link(model, run).busy_s;
      const EngineTimes times = with_link(model, run, link_for(probe, compute_s, transfer));
      return times.wall_s / std::max({compute_s, times.load_s, times.store_s});
    });
    worst = std::max(worst, ratio.value);
    detail += text::cat(detail.empty() ? "" : "; ", "at ", transfer, ": ", text::format_number(ratio.value, 3), " (",
                        ratio.spread, ")");
  }
  rows.push_back({"one cut trial, emulated link, time ÷ max(compute with recompute, transfer), worst", worst, "ratio",
                  1.15, 1.05, true, "transfer ÷ compute " + detail});
  return rows;
}

std::vector<BenchRow> bench_interleaved(const BenchScale& scale) {
  const BenchModel model = small_model(scale);
  EngineRun run = four_trials_on_two_devices(model, scale);
  const EngineTimes probe = with_link(model, run, 100e9);
  double plain = 0;
  const Median ratio = median_of(scale.quick ? 1 : 3, [&] {
    EngineRun whole = run;
    whole.cuts.clear();
    const double resident_s = without_link(model, whole).wall_s;
    const EngineTimes same_layers = without_link(model, run);
    const EngineTimes cut = with_link(model, run, link_for(probe, same_layers.busy_s, 0.5));
    plain = resident_s / cut.wall_s;
    return same_layers.wall_s / cut.wall_s;
  });
  const double f = 1.0 - 2.0 / static_cast<double>(model.source->description().layers.size());
  return {{"four cut trials, two emulated devices, throughput ÷ resident loop that recomputes the same layers",
           ratio.value, "ratio", 0.90, 0.97, false,
           text::cat(ratio.spread, "; ÷ plain resident ", text::format_number(plain, 3), ", bound 3/(3+f) about ",
                     text::format_number(3 / (3 + f), 3), "; transfer ÷ compute 0.5")}};
}

std::vector<BenchRow> bench_ablation(const BenchScale& scale) {
  const BenchModel model = small_model(scale);
  EngineRun run = four_trials_on_two_devices(model, scale);
  const EngineTimes probe = with_link(model, run, 100e9);
  const double link = link_for(probe, without_link(model, run).busy_s, 1.0);
  run.execute.keep_activations = true;
  const double kept = with_link(model, run, link).wall_s;
  run.execute.keep_activations = false;
  const double full = with_link(model, run, link).wall_s;
  run.execute.double_buffer = false;
  const double single = with_link(model, run, link).wall_s;
  EngineRun bound = run;
  bound.execute.interleave = false;
  const double apart = with_link(model, bound, link).wall_s;
  run.one_at_a_time = true;
  const double alone = with_link(model, run, link).wall_s;
  return {{"ablation: computing forward passes twice ÷ keeping what they saved", full / kept, "ratio", std::nullopt,
           std::nullopt, false, "four trials, two emulated devices with room to spare; the rows below recompute"},
          {"ablation: without double buffering ÷ full", single / full, "ratio", std::nullopt, 1.3, false,
           "four trials, two emulated devices, transfer about compute"},
          {"ablation: also without interleaving (one trial at a time) ÷ without double buffering", alone / single,
           "ratio", std::nullopt, 1.3, false,
           text::cat("the same, as in Hydra's Table 3; with a trial of its own for each device instead: ",
                     text::format_number(apart / single, 3))}};
}

std::vector<BenchRow> bench_streaming(const BenchScale& scale) {
  const BenchModel model(scale.quick ? 64 : 512, 8, 512, scale.quick ? 32 : 128, 4);
  const std::uint32_t steps = scale.quick ? 2 : 5;
  EngineTimes last;
  const Median ratio = median_of(scale.quick ? 1 : 5, [&] {
    const double bare = run_bare_loop(model, steps, 2);
    EngineRun run;
    run.threads = 2;
    run.cuts = even_cuts(*model.source, 1);
    run.window_share = 0.25;
    run.steps = steps;
    last = run_engine(model, run);
    return last.wall_s / bare;
  });
  return {{"GPT-2 from and to disk each step, host tier 25 % of its state ÷ plain resident", ratio.value, "ratio", 1.7,
           1.35, true,
           text::cat(ratio.spread, "; ", text::format_bytes(last.disk_read / steps), " read and ",
                     text::format_bytes(last.disk_written / steps), " written a step, ",
                     text::format_bytes(last.workspace_peak), " of workspace at most")}};
}

}  // namespace hopyard
