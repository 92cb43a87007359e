#include "worker_runs.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>

#include "base/failure.h"
#include "base/files.h"
#include "runtime/hopping_run.h"
#include "runtime/sqlite_journal.h"

extern char** environ;

namespace hopyard {

namespace {

namespace fs = std::filesystem;

FinishedRun finished(const std::string& directory) {
  const auto journal = open_journal(directory + "/journal.sqlite", true);
  FinishedRun run;
  run.directory = directory;
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
    run.exchanged_bytes += json_get<std::uint64_t>(worker, "exchanged_bytes", directory);
    run.stored += json_get<std::uint64_t>(worker, "stored_bytes", directory);
  }
  return run;
}

}  // namespace

WorkersFolder::WorkersFolder() {
  fs::remove_all(kWorkersFolder);
  fs::create_directories(kWorkersFolder);
}
WorkersFolder::~WorkersFolder() { fs::remove_all(kWorkersFolder); }

WorkerProcess::WorkerProcess(const std::string& config, const std::string& directory, std::uint32_t rank,
                             std::uint32_t workers, std::uint16_t port) {
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

WorkerProcess::WorkerProcess(WorkerProcess&& other) : process_(std::exchange(other.process_, 0)) {}

void WorkerProcess::kill() {
  if (process_ == 0) return;
  ::kill(process_, SIGKILL);
  ::waitpid(std::exchange(process_, 0), nullptr, 0);
}

void WorkerProcess::wait() {
  int status = 0;
  ::waitpid(std::exchange(process_, 0), &status, 0);
  require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a worker of the benchmark failed: see ", kWorkersFolder);
}

std::uint16_t next_port() {
  static std::uint16_t port = 29'700;
  return ++port;
}

std::vector<WorkerProcess> start_workers(const std::string& config, const std::string& directory, std::uint32_t workers,
                                         std::uint16_t port) {
  std::vector<WorkerProcess> all;
  for (std::uint32_t rank = 0; rank < workers; ++rank) all.emplace_back(config, directory, rank, workers, port);
  return all;
}

FinishedRun run_workers(const std::string& config, const std::string& name, std::uint32_t workers) {
  const std::string directory = text::cat(kWorkersFolder, "/", name);
  for (auto& process : start_workers(config, directory, workers, next_port())) process.wait();
  return finished(directory);
}

std::string write_config(const WorkersConfig& config, const std::string& name) {
  const std::string path = text::cat(kWorkersFolder, "/", name, ".yaml");
  write_file_atomically(
      path, text::cat("version: 1\nname: ", name, "\nseed: 17\ndata: {train: ", config.train, ", valid: ", config.valid,
                      ", valid_rows: ", config.valid_rows, config.data, "}\nmodel: {checkpoint: ", config.checkpoint,
                      ", task: sequence-classification}\ntrain: {epochs: ", config.epochs, ", batch_size: ",
                      config.batch_size, ", optimizer: {type: adamw, lr: ", config.lr, "}", config.train_more,
                      "}\nsearch: {method: grid, metric: valid/accuracy}\nresources: {devices: [", config.devices,
                      "], host_memory: ", config.host_memory, ", disk: {path: spill, capacity: 8GiB}}\nworkers: {",
                      config.workers, "}\nexecute: {", config.execute, "}\n"));
  return path;
}

}  // namespace hopyard
