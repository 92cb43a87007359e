#include "sharing_bench.h"

#include <filesystem>
#include <memory>

#include "base/failure.h"
#include "fakes/small_world.h"
#include "fakes/sweep_run.h"
#include "runtime/sqlite_journal.h"

namespace hopyard {

namespace {

namespace fs = std::filesystem;

constexpr const char* kMiniLm = "data/all-MiniLM-L6-v2";
constexpr const char* kSections = "data/sections";

/// MiniLM on the Debian sections where they were fetched; else a small BERT with random weights on random rows.
struct SweepData {
  explicit SweepData(bool quick) {
    if (!quick && fs::exists(kMiniLm) && fs::exists(kSections)) {
      checkpoint = kMiniLm;
      train = text::cat(kSections, "/train");
      valid = text::cat(kSections, "/valid");
      return;
    }
    small = std::make_unique<fakes::SmallWorld>(fakes::kTinyBert);
    small->give_weights();
    checkpoint = small->folder / "model";
    train = valid = small->folder / "data";
  }
  std::unique_ptr<fakes::SmallWorld> small;
  std::string checkpoint, train, valid;
};

/// A sweep's own lines; its data, and the two cpu devices of a machine of two cores.
ExperimentConfig sweep(const SweepData& data, std::uint32_t rows, const std::string& model, const std::string& train,
                       const std::string& search, const char* sharing) {
  const std::uint32_t train_rows = data.small ? 40 : rows, valid_rows = data.small ? 20 : std::max(1u, rows / 4);
  return parse_config(
      text::cat(
          "version: 1\nname: sharing\nseed: 17\ndata: {train: ", data.train, ", valid: ", data.valid,
          ", train_rows: ", train_rows, ", valid_rows: ", valid_rows,
          ", partitions: 1}\nmodel: {checkpoint: ", data.checkpoint, ", task: sequence-classification, ", model,
          "}\ntrain: {epochs: 3, batch_size: 32, ", train, "}\nsearch: {", search,
          ", metric: valid/accuracy}\nresources: {devices: [{type: cpu, count: 2, threads: 1}], host_memory: 4GiB, ",
          "disk: {path: spill, capacity: 8GiB}}\nexecute: {sharing: ", sharing, "}\n"),
      "sweep", {});
}

fakes::SweepResult run(const ExperimentConfig& config) {
  const std::string folder = "build/bench_sharing";
  fs::remove_all(folder);
  fs::create_directories(folder);
  fakes::SweepResult result;
  {
    const auto journal = open_journal(folder + "/journal.sqlite", false);
    const auto disk = open_rocks_disk_tier({folder + "/spill", config.disk_capacity});
    result = fakes::run_sweep(config, *journal, *disk);
  }
  fs::remove_all(folder);
  return result;
}

BenchRow compare(const std::string& name, const SweepData& data, std::uint32_t rows, const std::string& model,
                 const std::string& train, const std::string& search, double must, std::optional<double> aim) {
  const auto on = run(sweep(data, rows, model, train, search, "auto"));
  const auto off = run(sweep(data, rows, model, train, search, "off"));
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
                    text::format_number(on.materialise_s, 1), " s of device time")};
}

}  // namespace

std::vector<BenchRow> bench_sharing(const BenchScale& scale) {
  const SweepData data(scale.quick);
  const std::string head = data.small ? "5" : "7";
  const auto frozen =
      compare("12 trials, all frozen but the head, sharing off ÷ on", data, scale.sharing_rows, "freeze: " + head,
              "optimizer: {type: adamw, lr: {grid: [1.0e-4, 3.0e-4, 1.0e-3, 3.0e-3]}, "
              "weight_decay: {grid: [0.0, 0.01, 0.1]}}",
              "method: grid", 5, 15);
  // Each depth, and the head alone at four more learning rates.
  std::string joint;
  for (int depth = 0; depth <= std::stoi(head); ++depth)
    joint += text::cat("{model: {freeze: ", depth, "}, train: {optimizer: {lr: 1.0e-4}}}, ");
  for (const char* lr : {"3.0e-4", "1.0e-3", "3.0e-3", "1.0e-2"})
    joint += text::cat("{model: {freeze: ", head, "}, train: {optimizer: {lr: ", lr, "}}}, ");
  const auto mixed = compare("12 trials, freeze depths 0 to 7 mixed (the head alone five times), sharing off ÷ on",
                             data, scale.sharing_rows, "", "optimizer: {type: adamw}",
                             text::cat("method: grid, joint: [", joint, "]"), 1.5, std::nullopt);
  return {frozen, mixed};
}

}  // namespace hopyard
