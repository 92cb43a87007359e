// Whole sweeps for benchmarks: MiniLM on the Debian sections, planned and run as `hopyard run` does.
#pragma once

#include <memory>
#include <string>

#include "base/journal.h"
#include "fakes/small_world.h"
#include "fakes/sweep_run.h"

namespace hopyard {

/// MiniLM on the Debian sections where they were fetched; else a small BERT with random weights on random rows.
struct SweepData {
  explicit SweepData(bool quick);
  /// Of which all but the head is frozen.
  std::string all_but_head() const { return small ? "5" : "7"; }
  std::unique_ptr<fakes::SmallWorld> small;
  std::string checkpoint, train, valid;
};

/// A sweep's own lines; the rest is alike in all.
struct SweepText {
  std::uint32_t rows = 320;  ///< for training, and a quarter of that for validation
  std::string model, train, search;
  std::string devices = "{type: cpu, count: 2, threads: 1}";  ///< of a machine of two cores
  std::string execute = "sharing: auto";
};
ExperimentConfig sweep_config(const SweepData& data, const SweepText& text);

/// From an empty folder to the end, with a disk tier and a journal on disk. `journal`: what stands between the run and
/// its journal.
fakes::SweepResult run_whole(const ExperimentConfig& config,
                             const std::function<std::unique_ptr<Journal>(std::unique_ptr<Journal>)>& journal = {});

}  // namespace hopyard
