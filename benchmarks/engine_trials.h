// GPT-2 trials of a chosen size, run by the engine for some steps and timed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "pipeline/executor.h"
#include "pipeline/profiler.h"

namespace hopyard {

/// Random tokens and a GPT-2 with random weights, in a temporary folder.
class BenchModel {
 public:
  BenchModel(int width, int layers, int vocabulary, int tokens, std::uint32_t batch_size, int heads = 8,
             double dropout = 0);
  ~BenchModel();
  std::shared_ptr<const ModelSource> source;
  std::shared_ptr<const Dataset> data;
  TrainSpec train;  ///< AdamW
  std::vector<std::uint32_t> rows(std::uint32_t steps) const { return first_rows(steps * train.batch_size); }
  /// So many; from the first again after the last.
  std::vector<std::uint32_t> first_rows(std::uint32_t count) const;
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

struct EngineRun {
  std::vector<std::uint32_t> cuts;
  bool emulated = false;
  std::uint32_t devices = 1;
  int threads = 1;
  Bytes device_memory = 2 * GiB;
  double link_bytes_per_s = 0;
  Bytes host_memory = 4 * GiB;
  double window_share = 1;  ///< of the trial's state
  std::uint32_t trials = 1, steps = 4;
  bool one_at_a_time = false;  ///< each trial alone on all devices, one after another
  ExecuteSpec execute;
};

struct EngineTimes {
  double wall_s = 0;               ///< of all steps of all trials, after one warm-up step of each
  double busy_s = 0;               ///< summed over devices
  double load_s = 0, store_s = 0;  ///< the busiest link, each way
  Bytes loaded = 0, stored = 0, disk_read = 0, disk_written = 0;
  Bytes workspace_peak = 0;  ///< of the first device's own account
};

/// Cuts of a model into shards of equally many layers.
std::vector<std::uint32_t> even_cuts(const ModelSource& source, std::uint32_t layers_per_shard);
EngineTimes run_engine(const BenchModel& model, const EngineRun& run);
/// The yardstick: a plain loop over the whole model with libtorch alone. Seconds of `steps` steps after a warm-up.
double run_bare_loop(const BenchModel& model, std::uint32_t steps, int threads);

}  // namespace hopyard
