#include "asha_bench.h"

#include <algorithm>
#include <limits>
#include <mutex>

#include "base/failure.h"
#include "base/files.h"
#include "sweeps.h"

namespace hopyard {

namespace {

/// Scores in the order in which they came, with the device time of all trials until then.
struct Progress {
  std::mutex mutex;  // guards all below
  double device_s = 0;
  std::vector<std::pair<double, double>> scores;  // device time, metric
};

/// A journal that also notes progress; everything else goes to the one below.
class WatchedJournal final : public Journal {
 public:
  WatchedJournal(std::unique_ptr<Journal> below, Progress& progress) : below_(std::move(below)), progress_(progress) {}
  void commit(const VisitCommit& commit, const std::vector<CurvePoint>& curve) override {
    below_->commit(commit, curve);
    const std::lock_guard lock(progress_.mutex);
    progress_.device_s += commit.seconds;
    if (commit.score) progress_.scores.emplace_back(progress_.device_s, commit.score->metric);
  }
  void add_trial(const TrialSpec& spec) override { below_->add_trial(spec); }
  void end_trial(const std::string& trial, TrialState state, const std::string& reason) override {
    below_->end_trial(trial, state, reason);
  }
  std::vector<TrialRecord> trials() const override { return below_->trials(); }
  void add_decision(const SearchDecision& decision) override { below_->add_decision(decision); }
  std::vector<SearchDecision> decisions() const override { return below_->decisions(); }
  void add_operation(const Operation& operation) override { below_->add_operation(operation); }
  void settle_operation(std::uint64_t number, const std::string& outcome) override {
    below_->settle_operation(number, outcome);
  }
  std::vector<Operation> operations() const override { return below_->operations(); }
  void put_fact(const std::string& name, const std::string& json) override { below_->put_fact(name, json); }
  std::optional<std::string> fact(const std::string& name) const override { return below_->fact(name); }

 private:
  const std::unique_ptr<Journal> below_;
  Progress& progress_;
};

// So that four epochs are nine times the first rung, in whole visits.
constexpr std::uint32_t kPartitions = 9;
constexpr const char* kExample = "examples/transfer.yaml";

void run_watched(const ExperimentConfig& config, Progress& progress) {
  run_whole(config, [&](std::unique_ptr<Journal> below) {
    return std::make_unique<WatchedJournal>(std::move(below), progress);
  });
}

}  // namespace

std::vector<BenchRow> bench_asha(const BenchScale& scale) {
  const SweepData data(scale.quick);
  const auto rows = [&](std::uint32_t of_example) {
    return std::max(kPartitions, data.small ? of_example / 200 : of_example * scale.sharing_rows / 2000);
  };
  std::vector<std::pair<std::string, std::string>> overrides{
      {"model.checkpoint", data.checkpoint},
      {"data.train", data.train},
      {"data.valid", data.valid},
      {"data.train_rows", std::to_string(rows(8000))},
      {"data.partitions", std::to_string(kPartitions)},
      {"data.valid_rows", std::to_string(rows(data.small ? 4000 : 1000))},
      {"train.rows", text::cat("{grid: [", rows(500), ", ", rows(2000), ", ", rows(8000), "]}")},
  };
  std::string example = read_file(kExample, 1 << 20);
  if (data.small) example.replace(example.find("freeze: 7"), 9, "freeze: " + data.all_but_head());
  Progress grid, asha;
  run_watched(parse_config(example, kExample, overrides), grid);
  overrides.insert(
      overrides.end(),
      {{"search.method", "asha"}, {"search.trials", "12"}, {"search.min_epochs", "0.4444"}, {"search.eta", "3"}});
  run_watched(parse_config(example, kExample, overrides), asha);
  double best = 0, reached_s = std::numeric_limits<double>::infinity(), asha_best = 0;
  for (const auto& [device_s, metric] : grid.scores) best = std::max(best, metric);
  for (const auto& [device_s, metric] : asha.scores) {
    asha_best = std::max(asha_best, metric);
    if (metric >= best) reached_s = std::min(reached_s, device_s);
  }
  return {{"ASHA on the transfer example, device time to the grid's best validation score ÷ the grid's",
           reached_s / grid.device_s, "ratio", 0.35, 0.2, true,
           text::cat("12 trials of 4 epochs, up to ", rows(8000), " rows, rungs of 4/9, 4/3 and 4; grid ",
                     text::format_number(grid.device_s, 1), " s, best ", text::format_number(best, 4), "; ASHA ",
                     text::format_number(asha.device_s, 1), " s in all, best ", text::format_number(asha_best, 4))}};
}

}  // namespace hopyard
