#include "sweeps.h"

#include <filesystem>

#include "runtime/sqlite_journal.h"

namespace hopyard {

namespace {

namespace fs = std::filesystem;

constexpr const char* kMiniLm = "data/all-MiniLM-L6-v2";
constexpr const char* kSections = "data/sections";
constexpr const char* kFolder = "build/bench_sweep";

}  // namespace

SweepData::SweepData(bool quick) {
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

ExperimentConfig sweep_config(const SweepData& data, const SweepText& text) {
  const std::uint32_t train_rows = data.small ? 40 : text.rows;
  const std::uint32_t valid_rows = data.small ? 20 : std::max(1u, text.rows / 4);
  return parse_config(
      text::cat("version: 1\nname: bench\nseed: 17\ndata: {train: ", data.train, ", valid: ", data.valid,
                ", train_rows: ", train_rows, ", valid_rows: ", valid_rows, ", partitions: 1}\nmodel: {checkpoint: ",
                data.checkpoint, ", task: sequence-classification, ", text.model, "}\ntrain: {", text.train,
                "}\nsearch: {", text.search, ", metric: valid/accuracy}\nresources: {devices: [", text.devices,
                "], host_memory: 4GiB, disk: {path: spill, capacity: 8GiB}}\nexecute: {", text.execute, "}\n"),
      "sweep", {});
}

fakes::SweepResult run_whole(const ExperimentConfig& config,
                             const std::function<std::unique_ptr<Journal>(std::unique_ptr<Journal>)>& journal) {
  fs::remove_all(kFolder);
  fs::create_directories(kFolder);
  fakes::SweepResult result;
  {
    auto record = open_journal(text::cat(kFolder, "/journal.sqlite"), false);
    if (journal) record = journal(std::move(record));
    const auto disk = open_rocks_disk_tier({text::cat(kFolder, "/spill"), config.disk_capacity});
    result = fakes::run_sweep(config, *record, *disk);
  }
  fs::remove_all(kFolder);
  return result;
}

}  // namespace hopyard
