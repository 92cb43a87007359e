#include "scheduling_bench.h"

#include <algorithm>

#include "base/clock.h"
#include "base/rng.h"
#include "base/text.h"
#include "pipeline/simulator.h"

namespace hopyard {
namespace {

constexpr double kHour = 3600;
constexpr int kDraws = 3;
constexpr std::uint64_t kSeed = 7;

SimTrial model_of(double total_s, std::uint64_t units) {
  SimTrial trial;
  trial.phases.push_back({{{.compute_s = total_s / static_cast<double>(units)}}, units});
  return trial;
}

std::vector<SimTrial> equal_models(std::size_t count) {
  return std::vector<SimTrial>(count, model_of(2 * kHour, 2000));
}

std::vector<SimTrial> drawn_models(std::size_t count, std::uint64_t draw) {
  KeyedStream random(derive(kSeed, draw));
  std::vector<SimTrial> models;
  for (std::size_t i = 0; i < count; ++i) {
    const double total_s = (0.5 + 3.5 * random.uniform()) * kHour;
    models.push_back(model_of(total_s, 100 + random.below(9901)));
  }
  return models;
}

double ratio_to_bound(const std::vector<SimTrial>& models, std::uint32_t devices) {
  double longest = 0, total = 0;
  for (const SimTrial& model : models) {
    const SimPhase& phase = model.phases.front();
    const double model_s = phase.tasks.front().compute_s * static_cast<double>(phase.repeats);
    longest = std::max(longest, model_s);
    total += model_s;
  }
  SimOptions options;
  options.devices = devices;
  return predict_makespan(models, options) / std::max(longest, total / devices);
}

}  // namespace

std::vector<Fig7Row> bench_fig7() {
  std::vector<Fig7Row> rows;
  for (const std::size_t count : {8, 64}) {
    for (const std::uint32_t devices : {4, 8}) {
      const std::string cell = text::cat(count, " models, ", devices, " devices, ");
      rows.push_back({cell + "equal", ratio_to_bound(equal_models(count), devices)});
      double worst = 0;
      for (int draw = 0; draw < kDraws; ++draw)
        worst = std::max(worst, ratio_to_bound(drawn_models(count, draw), devices));
      rows.push_back({cell + "drawn", worst});
    }
  }
  return rows;
}

double scheduling_decision_us(std::size_t trials) {
  constexpr int kDecisions = 200'000;
  const auto scheduler = make_scheduler(SchedulerKind::lrtf, kSeed);
  KeyedStream random(kSeed);
  std::vector<double> remaining(trials);
  for (std::uint32_t i = 0; i < trials; ++i) {
    remaining[i] = 1000 * random.uniform();
    scheduler->add({i, remaining[i], 1000});
  }
  const double begin_s = monotonic_seconds();
  for (int i = 0; i < kDecisions; ++i) {
    const auto trial = scheduler->pick([](std::uint32_t) { return true; });
    scheduler->remove(*trial);
    // Less than before, but anywhere in the order: what a set of trials of different kinds looks like.
    remaining[*trial] *= 0.999 * random.uniform();
    scheduler->add({*trial, remaining[*trial], 1000});
  }
  return (monotonic_seconds() - begin_s) / kDecisions * 1e6;
}

}  // namespace hopyard
