#include "workers_bench.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>

#include "base/clock.h"
#include "base/environment.h"
#include "base/failure.h"
#include "base/files.h"
#include "data/partition_writer.h"
#include "runtime/hopping_run.h"
#include "runtime/sqlite_journal.h"
#include "sweeps.h"

extern char** environ;

namespace hopyard {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder = "build/bench_workers";
constexpr std::uint32_t kPartitions = 4, kTrials = 4;
constexpr double kPatience = 900;

/// A worker's process, which does not outlive this object.
class WorkerProcess {
 public:
  WorkerProcess(const std::string& config, const std::string& directory, std::uint32_t rank, std::uint32_t workers,
                std::uint16_t port) {
    std::vector<std::string> variables = {text::cat("RANK=", rank),          text::cat("LOCAL_RANK=", rank),
                                          text::cat("WORLD_SIZE=", workers), "MASTER_ADDR=127.0.0.1",
                                          text::cat("MASTER_PORT=", port),   "HOPYARD_SECRET=of the benchmark"};
    for (char** one = environ; *one != nullptr; ++one) variables.push_back(*one);
    std::vector<std::string> words = {fs::read_symlink("/proc/self/exe").parent_path() / "hopyard", "run", config,
                                      "--dir", directory};
    const auto pointers = [](std::vector<std::string>& texts) {
      std::vector<char*> all;
      for (auto& one : texts) all.push_back(one.data());
      all.push_back(nullptr);
      return all;
    };
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    const std::string log = text::cat(directory, ".", rank, ".log");
    ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
    const int error = ::posix_spawn(&process_, words.front().c_str(), &actions, nullptr, pointers(words).data(),
                                    pointers(variables).data());
    ::posix_spawn_file_actions_destroy(&actions);
    require(error == 0, "cannot start ", words.front());
  }
  WorkerProcess(WorkerProcess&& other) : process_(std::exchange(other.process_, 0)) {}
  ~WorkerProcess() { kill(); }

  void kill() {
    if (process_ == 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(std::exchange(process_, 0), nullptr, 0);
  }
  void wait() {
    int status = 0;
    ::waitpid(std::exchange(process_, 0), &status, 0);
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a worker of the benchmark failed: see ", kFolder);
  }

 private:
  pid_t process_ = 0;
};

std::uint16_t next_port() {
  static std::uint16_t port = 29'700;
  return ++port;
}

std::vector<WorkerProcess> start(const std::string& config, const std::string& directory, std::uint32_t workers,
                                 std::uint16_t port) {
  std::vector<WorkerProcess> all;
  for (std::uint32_t rank = 0; rank < workers; ++rank) all.emplace_back(config, directory, rank, workers, port);
  return all;
}

/// What a finished run says of itself.
struct Finished {
  double wall_s = 0, hop_s = 0, waited_s = 0, busy_s = 0;  ///< of all workers
  Bytes hop_bytes = 0, stored = 0;                         ///< stored: the most at a time, summed over workers
  std::uint64_t hops = 0;
  double score = 0;  ///< the best trial's last
};
Finished finished(const std::string& directory) {
  const auto journal = open_journal(directory + "/journal.sqlite", true);
  Finished run;
  run.wall_s = json_get<double>(parse_json(*journal->fact("summary"), directory), "wall_s", directory);
  for (const auto& record : journal->trials())
    if (!record.scores.empty()) run.score = std::max(run.score, record.scores.back().metric);
  const auto hopping = journal->fact(kHoppingFact);
  if (!hopping) return run;
  const Json report = parse_json(*hopping, directory);
  run.hops = json_get<std::uint64_t>(report, "hops", directory);
  run.hop_bytes = json_get<std::uint64_t>(report, "hop_bytes", directory);
  for (const auto& worker : report.at("workers")) {
    run.hop_s += json_get<double>(worker, "hop_s", directory);
    run.waited_s += json_get<double>(worker, "waited_s", directory);
    run.busy_s += json_get<double>(worker, "busy_s", directory);
    run.stored += json_get<std::uint64_t>(worker, "stored_bytes", directory);
  }
  return run;
}

Finished run(const std::string& config, const std::string& name, std::uint32_t workers) {
  const std::string directory = text::cat(kFolder, "/", name);
  for (auto& process : start(config, directory, workers, next_port())) process.wait();
  return finished(directory);
}

/// Data of a few hundred rows, cut for workers: a part of the data set, which was cut before.
std::string cut_data(const std::string& data, std::uint32_t rows, std::uint32_t of) {
  const std::string small = text::cat(kFolder, "/some"), cut = text::cat(kFolder, "/cut");
  std::string folder = data;
  if (of > rows) {
    const auto parts = write_partitions({data, of / rows, small, 17});
    folder = text::cat(small, "/", parts.partitions.front().folder);
  }
  write_partitions({folder, kPartitions, cut, 17});
  return cut;
}

struct ConfigText {
  std::uint32_t epochs = 1;
  std::string devices = "{type: cpu, count: 1, threads: 1}";
  std::string host_memory = "3GiB";
  std::string more;
};
std::string write_config(const SweepData& data, const std::string& cut, const std::string& name, const ConfigText& is) {
  const std::string path = text::cat(kFolder, "/", name, ".yaml");
  write_file_atomically(
      path, text::cat("version: 1\nname: ", name, "\nseed: 17\ndata: {train: ", cut, ", valid: ", data.valid,
                      ", valid_rows: ", data.small ? 8 : 64, "}\nmodel: {checkpoint: ", data.checkpoint,
                      ", task: sequence-classification}\ntrain: {epochs: ", is.epochs,
                      ", batch_size: 16, optimizer: {type: adamw, lr: {grid: [1.0e-5, 3.0e-5, 5.0e-5, 1.0e-4]}}}\n"
                      "search: {method: grid, metric: valid/accuracy}\nresources: {devices: [",
                      is.devices, "], host_memory: ", is.host_memory,
                      ", disk: {path: spill, capacity: 8GiB}}\nworkers: {replication: 1}\n", is.more));
  return path;
}

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

/// What interleaving can make of one trial at a time, from worker 0's trace of that: were all tasks of all trials one
/// stream, it would take max(Σ compute, Σ link) instead of Σ max(compute, link). Loads and stores go both ways at once.
double interleaving_floor(const std::string& directory) {
  const Json trace = read_json(directory + "/trace.json");
  std::map<std::uint64_t, std::string> threads;
  struct Task {
    double compute_s = 0, load_s = 0, store_s = 0;
  };
  std::map<std::string, std::vector<Task>> tasks;  // by name, in the order of computing
  std::map<std::string, double> loaded_s;          // and not computed with yet
  const Json& events = trace.is_array() ? trace : trace.at("traceEvents");
  std::vector<const Json*> slices;
  for (const auto& event : events) {
    if (event.at("name") == "thread_name")
      threads[event.at("tid").get<std::uint64_t>()] = event.at("args").at("name").get<std::string>();
    if (event.at("ph") == "X" && event.value("cat", "") != "idle") slices.push_back(&event);
  }
  std::stable_sort(slices.begin(), slices.end(),
                   [](const Json* a, const Json* b) { return a->at("ts").get<double>() < b->at("ts").get<double>(); });
  double compute_s = 0, load_s = 0, store_s = 0;
  for (const Json* slice : slices) {
    const auto name = slice->at("name").get<std::string>();
    const auto& thread = threads[slice->at("tid").get<std::uint64_t>()];
    const double seconds = slice->at("dur").get<double>() / 1e6;
    if (thread == "load") {
      loaded_s[name] += seconds;
      load_s += seconds;
    } else if (thread == "compute") {
      tasks[name].push_back({seconds, std::exchange(loaded_s[name], 0), 0});
      compute_s += seconds;
    } else if (thread == "store") {
      if (!tasks[name].empty()) tasks[name].back().store_s += seconds;
      store_s += seconds;
    }
  }
  double one_by_one_s = 0;
  for (const auto& [name, all] : tasks)
    for (const auto& task : all) one_by_one_s += std::max({task.compute_s, task.load_s, task.store_s});
  return std::max({compute_s, load_s, store_s}) / std::max(one_by_one_s, 1e-9);
}

/// Schemes beside each other, as in Cerebro's Fig. 7: 2 workers with an emulated device each, models that are spilled.
std::vector<BenchRow> schemes(const SweepData& data, const std::string& cut) {
  const std::string devices = data.small ? "{type: emulated, count: 1, memory: 24MiB, link: 1GiB/s}"
                                         : "{type: emulated, count: 1, memory: 256MiB, link: 1GiB/s, threads: 1}";
  const auto measure = [&](const std::string& name, const std::string& more) {
    return run(write_config(data, cut, name, {1, devices, data.small ? "256MiB" : "1GiB", more}), name, 2);
  };
  const auto row = [](const std::string& name, const Finished& run) {
    return BenchRow{
        text::cat("makespan, 2 workers: ", name),
        run.wall_s,
        "s",
        {},
        {},
        true,
        text::cat(text::format_bytes(run.hop_bytes), " over the network, at most ", text::format_bytes(run.stored),
                  " stored, devices busy ", text::format_number(100 * run.busy_s / (2 * run.wall_s), 3),
                  " %, best score ", text::format_number(run.score, 4))};
  };
  const Finished alone = measure("mop", "execute: {active_trials: 1}\n");
  const Finished both = measure("interleaved", "");
  std::vector<BenchRow> rows{row("MOP, one trial at a time", alone), row("MOP × interleaving", both)};
  const double floor = interleaving_floor(text::cat(kFolder, "/mop")), ratio = both.wall_s / alone.wall_s;
  rows.push_back({"interleaved MOP ÷ one trial per worker, over its floor", ratio / floor, "ratio", 1.15, 1.05, true,
                  text::cat("emulated devices, spilled models; ", text::format_number(ratio, 3),
                            " where max(Σ compute, Σ link) ÷ "
                            "Σ max(compute, link) of worker 0's tasks is ",
                            text::format_number(floor, 3))});
  return rows;
}

/// Seconds from the same command after kill -9 of worker 0 to the first visit that is committed again.
double restart_s(const std::string& config) {
  const std::string directory = text::cat(kFolder, "/restart");
  const std::uint16_t port = next_port();
  auto processes = start(config, directory, 2, port);
  require(wait_for_commits(directory, 3), "nothing was committed in ", directory);
  processes.front().kill();
  const std::uint32_t before = committed(directory);
  const double begin_s = monotonic_seconds();
  WorkerProcess again(config, directory, 0, 2, port);
  require(wait_for_commits(directory, before + 1), "nothing was committed after the restart in ", directory);
  return monotonic_seconds() - begin_s;
}

}  // namespace

std::vector<BenchRow> bench_workers(const BenchScale& scale) {
  fs::remove_all(kFolder);
  fs::create_directories(kFolder);
  const SweepData data(scale.quick);
  const std::uint32_t all_rows = Dataset(data.valid).rows();
  const std::string cut = cut_data(data.valid, data.small ? 40 : 1200, all_rows);
  const std::string config = write_config(data, cut, "cpu", {});
  const Finished two = run(config, "two", 2), one = run(config, "one", 1);
  const std::string what = text::cat(data.small ? "a small model" : "MiniLM", ", ", kTrials, " trials, ", kPartitions,
                                     " partitions; 1 worker ", text::format_number(one.wall_s, 3), " s, 2 workers ",
                                     text::format_number(two.wall_s, 3), " s");
  std::vector<BenchRow> rows;
  rows.push_back(
      {"makespan of 2 workers ÷ half of 1 worker's", two.wall_s / (one.wall_s / 2), "ratio", 1.08, 1.02, true, what});
  const double idle_s = 2 * two.wall_s - two.busy_s;  // whatever for: also where nothing was left to train
  rows.push_back(
      {"share of hop time hidden behind training", 1 - idle_s / std::max(two.hop_s, 1e-9), "ratio", 0.9, 0.98, false,
       text::cat(two.hops, " hops, ", text::format_bytes(two.hop_bytes), ", ", text::format_number(two.hop_s, 3),
                 " s at both ends; devices idle for ", text::format_number(idle_s, 3), " s in all, ",
                 text::format_number(two.waited_s, 3), " s of it with a visit that waited for its state")});
  const std::string emulated = "{type: emulated, count: COUNT, memory: 256MiB, link: 4GiB/s, threads: 1}";
  const auto with_devices = [&](const char* count, const char* name) {
    std::string devices = data.small ? "{type: emulated, count: COUNT, memory: 24MiB, link: 1GiB/s}" : emulated;
    devices.replace(devices.find("COUNT"), 5, count);
    return run(write_config(data, cut, name, {1, devices, data.small ? "256MiB" : "1GiB"}), name, 1).wall_s;
  };
  const double device_s = with_devices("1", "device"), devices_s = with_devices("2", "devices");
  rows.push_back({"two emulated devices for one worker ÷ one", devices_s / device_s, "ratio", 0.62, 0.52, true,
                  text::cat("spilled models; ", text::format_number(devices_s, 3), " s ÷ ",
                            text::format_number(device_s, 3), " s")});
  for (auto& row : schemes(data, cut)) rows.push_back(std::move(row));
  const SweepData small(true);
  fs::remove_all(text::cat(kFolder, "/cut"));
  const std::string small_config = write_config(small, cut_data(small.valid, 40, 40), "small", {50});
  rows.push_back({"restart of a killed coordinator, to the first new commit", restart_s(small_config), "s", 10, 3, true,
                  "2 workers, a small model; with planning"});
  fs::remove_all(kFolder);
  return rows;
}

}  // namespace hopyard
