#include "hopper_bench.h"

#include <algorithm>
#include <string>

#include "base/clock.h"
#include "base/rng.h"
#include "base/text.h"
#include "hopper/shop_fixture.h"

namespace hopyard {
namespace {

constexpr double kHour = 3600;
constexpr std::uint64_t kSeed = 7;

std::vector<double> drawn_epochs_s(std::uint32_t trials, std::uint64_t draw) {
  KeyedStream random(derive(kSeed, draw));
  std::vector<double> epochs_s(trials);
  for (double& epoch_s : epochs_s) epoch_s = (0.5 + 3.5 * random.uniform()) * kHour;
  return epochs_s;
}

struct Cell {
  std::uint32_t trials, workers;
  bool equal;
};

double worst_ratio(const Cell& cell, VisitSchedulerKind kind, int draws) {
  double worst = 0;
  for (const std::uint32_t epochs : {1u, 5u})
    for (int draw = 0; draw < (cell.equal ? 1 : draws); ++draw) {
      const std::vector<double> epochs_s =
          cell.equal ? std::vector<double>(cell.trials, kHour) : drawn_epochs_s(cell.trials, draw);
      const auto spec = fakes::cluster(epochs_s, cell.workers, cell.workers, 1, epochs);
      worst = std::max(worst, fakes::ratio_to_bound(spec, kind, draw));
    }
  return worst;
}

/// The worst of the grid's cells with at least two configurations for each worker; the others are shown.
BenchRow fig6(VisitSchedulerKind kind, const std::string& order, int draws, bool bound) {
  double worst = 0;
  std::string detail;
  for (const std::uint32_t trials : {16u, 256u})
    for (const std::uint32_t workers : {8u, 16u})
      for (const bool equal : {true, false}) {
        const double ratio = worst_ratio({trials, workers, equal}, kind, draws);
        if (trials >= 2 * workers) worst = std::max(worst, ratio);
        detail += text::cat(detail.empty() ? "" : "; ", trials, " × ", workers, equal ? " equal " : " mixed ",
                            text::format_number(ratio, 3));
      }
  BenchRow row{text::cat("hopper makespan ÷ lower bound, simulated, ", order, ", worst"), worst, "ratio"};
  if (bound) {
    row.must = 1.05;
    row.aim = 1.0;
  }
  row.detail = detail;
  return row;
}

BenchRow large_cluster(const BenchScale& scale) {
  const std::uint32_t trials = scale.quick ? 50 : 1000, workers = scale.quick ? 64 : 1024;
  auto spec = fakes::cluster(drawn_epochs_s(trials, 0), workers, workers);
  spec.hop_s = 1;
  spec.keep_visits = false;
  std::string detail;
  double slowest_s = 0;
  for (const VisitSchedulerKind kind : {VisitSchedulerKind::seed, VisitSchedulerKind::patient}) {
    const double begin_s = monotonic_seconds();
    const auto result = simulate_hopper(spec, *make_visit_scheduler(kind, kSeed));
    const double took_s = monotonic_seconds() - begin_s;
    slowest_s = std::max(slowest_s, took_s);
    detail += text::cat(detail.empty() ? "" : "; ", to_string(kind), " ", text::format_seconds(took_s), ", ",
                        result.commits, " visits");
  }
  return {"simulating 1,000 trials on 1,024 workers", slowest_s, "s", 10, 1, true, detail};
}

}  // namespace

std::vector<BenchRow> bench_hopper(const BenchScale& scale) {
  const int draws = scale.quick ? 1 : 40;
  return {fig6(VisitSchedulerKind::seed, "order: seed", draws, true),
          fig6(VisitSchedulerKind::patient, "order: free", draws, true),
          fig6(VisitSchedulerKind::lrtf, "order: free by lrtf", draws, false),
          fig6(VisitSchedulerKind::random, "order: free by random", draws, false), large_cluster(scale)};
}

}  // namespace hopyard
