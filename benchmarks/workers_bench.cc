#include "workers_bench.h"

#include <algorithm>
#include <filesystem>

#include "base/clock.h"
#include "base/failure.h"
#include "data/dataset.h"
#include "data/partition_writer.h"
#include "runtime/sqlite_journal.h"
#include "sweeps.h"
#include "worker_runs.h"
#include "worker_traces.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kPartitions = 4, kTrials = 4;
constexpr std::uint32_t kShares = 2;  // of the rows of MiniLM are used, one in so many

std::uint32_t committed(const std::string& directory) {
  std::uint32_t visits = 0;
  for (const auto& record : open_journal(directory + "/journal.sqlite", true)->trials())
    if (record.last) visits += record.last->epoch * kPartitions + record.last->visit + 1;
  return visits;
}
bool wait_for_commits(const std::string& directory, std::uint32_t visits) {
  for (const double until_s = monotonic_seconds() + 60; monotonic_seconds() < until_s; sleep_seconds(0.01))
    if (fs::exists(directory + "/journal.sqlite")) try {
        if (committed(directory) >= visits) return true;
      } catch (const Failure&) {  // it is being made
      }
  return false;
}

/// Seconds from the same command after kill -9 of worker 0 to the first visit that is committed again.
double restart_s(const std::string& config) {
  const std::string directory = text::cat(kWorkersFolder, "/restart");
  const std::uint16_t port = next_port();
  auto processes = start_workers(config, directory, 2, port);
  require(wait_for_commits(directory, 3), "nothing was committed in ", directory);
  processes.front().kill();
  const std::uint32_t before = committed(directory);
  const double begin_s = monotonic_seconds();
  WorkerProcess again(config, directory, 0, 2, port);
  require(wait_for_commits(directory, before + 1), "nothing was committed after the restart in ", directory);
  return monotonic_seconds() - begin_s;
}

/// A share of the data set's rows, cut for workers.
std::string cut_data(const std::string& data, std::uint32_t shares, const std::string& name) {
  const std::string some = text::cat(kWorkersFolder, "/", name, "-some"), cut = text::cat(kWorkersFolder, "/", name);
  std::string folder = data;
  if (shares > 1) {
    const auto parts = write_partitions({data, shares, some, 17});
    folder = text::cat(some, "/", parts.partitions.front().folder);
  }
  write_partitions({folder, kPartitions, cut, 17});
  return cut;
}

WorkersConfig config_of(const SweepData& data, const std::string& cut) {
  WorkersConfig config;
  config.train = cut;
  config.valid = data.valid;
  config.checkpoint = data.checkpoint;
  if (data.small) config.valid_rows = 8;
  return config;
}

/// The machine's speed drifts by some percent within minutes: what is compared with a run is run before and after it.
struct AroundAnother {
  FinishedRun before, other, after;
  double ratio() const { return (before.wall_s + after.wall_s) / 2 / other.wall_s; }
  std::string seconds() const {  // "80.1 and 82.3 s beside 150 s"
    return text::cat(text::format_number(before.wall_s, 3), " and ", text::format_number(after.wall_s, 3), " s around ",
                     text::format_number(other.wall_s, 3), " s");
  }
};

/// Workers with a cpu device of one thread each, which hold their trials whole.
std::vector<BenchRow> beside_one_worker(const SweepData& data) {
  const std::string cut = cut_data(data.valid, data.small ? 1 : kShares, "all");
  const std::string config = write_config(config_of(data, cut), "cpu");
  const auto run = [&](const char* name, std::uint32_t workers) { return run_workers(config, name, workers); };
  const FinishedRun first = run("two", 2), one = run("one", 1);
  const AroundAnother runs{first, one, run("two-again", 2)};
  const FinishedRun& two = runs.before;
  const std::uint32_t rows = Dataset(data.valid).rows() / (data.small ? 1 : kShares) / kPartitions;
  const HiddenHops hops = hidden_hops(two.directory);
  return {{"makespan of 2 workers ÷ half of 1 worker's", 2 * runs.ratio(), "ratio", 1.08, 1.02, true,
           text::cat(data.small ? "a small model" : "MiniLM", ", ", kTrials, " trials, ", kPartitions,
                     " partitions of ", rows, " rows; 2 workers ", runs.seconds(), " of 1 worker")},
          {"share of hop time hidden behind training", hops.hidden_s / std::max(hops.hop_s, 1e-9), "ratio", 0.9, 0.98,
           false,
           text::cat(two.hops, " hops, ", text::format_bytes(two.hop_bytes), ", ", text::format_number(hops.hop_s, 3),
                     " s at both ends, in which a device of the same worker computed for ",
                     text::format_number(hops.hidden_s, 3), " s; devices were idle for ",
                     text::format_number(2 * two.wall_s - two.busy_s, 3), " s in all, their start counted")}};
}

/// Emulated devices, on which models are spilled.
std::vector<BenchRow> on_emulated_devices(const SweepData& data) {
  const std::string cut = cut_data(data.valid, data.small ? 1 : 2 * kShares, "some");
  const auto run = [&](const std::string& name, std::uint32_t workers, std::uint32_t devices, const char* execute) {
    WorkersConfig config = config_of(data, cut);
    config.devices = text::cat("{type: emulated, count: ", devices, ", memory: ", data.small ? "24MiB" : "256MiB",
                               ", link: 1GiB/s, threads: 1}");
    config.host_memory = data.small ? "256MiB" : "1GiB";
    config.execute = execute;
    return run_workers(write_config(config, name), name, workers);
  };
  const FinishedRun device = run("device", 1, 1, ""), devices = run("devices", 1, 2, "");
  const FinishedRun both = run("interleaved", 2, 1, ""), alone = run("mop", 2, 1, "active_trials: 1");
  const AroundAnother runs{both, alone, run("interleaved-again", 2, 1, "")};
  const TaskTimes tasks = task_times(alone.directory);
  const auto seconds = [](double value) { return text::format_number(value, 3) + " s"; };
  return {{"two emulated devices for one worker ÷ one", devices.wall_s / device.wall_s, "ratio", 0.62, 0.52, true,
           text::cat("spilled models, batches of 32 rows; ", seconds(devices.wall_s), " ÷ ", seconds(device.wall_s))},
          {"interleaved MOP ÷ one trial per worker, over its floor", runs.ratio() / tasks.floor(), "ratio", 1.15, 1.05,
           true,
           text::cat("2 workers, emulated devices, spilled models; ", runs.seconds(),
                     " of one trial at a time: ", text::format_number(runs.ratio(), 3),
                     " where max(Σ compute, Σ link) ÷ Σ max(compute, link) of "
                     "worker 0's tasks is ",
                     text::format_number(tasks.floor(), 3), "; busy ",
                     text::format_number(100 * both.busy_s / (2 * both.wall_s), 3), " % and ",
                     text::format_number(100 * alone.busy_s / (2 * alone.wall_s), 3), " % of their time")}};
}

BenchRow restart() {
  const SweepData data(true);
  WorkersConfig config = config_of(data, cut_data(data.valid, 1, "small"));
  config.epochs = 50;
  config.batch_size = 16;
  return {"restart of a killed coordinator, to the first new commit",
          restart_s(write_config(config, "small")),
          "s",
          10,
          3,
          true,
          "2 workers, a small model; with planning"};
}

}  // namespace

std::vector<BenchRow> bench_workers(const BenchScale& scale) {
  const WorkersFolder folder_of_runs;
  const SweepData data(scale.quick);
  std::vector<BenchRow> rows = beside_one_worker(data);
  for (auto& row : on_emulated_devices(data)) rows.push_back(std::move(row));
  rows.push_back(restart());
  return rows;
}

}  // namespace hopyard
