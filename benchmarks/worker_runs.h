// Whole experiments on several worker processes of this machine, for benchmarks of the hopper.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// Of configs, data and run directories; paths with it are relative to the working directory.
inline constexpr const char* kWorkersFolder = "build/bench_workers";

/// It is there, and empty, at first, and gone with this object.
class WorkersFolder {
 public:
  WorkersFolder();
  ~WorkersFolder();
  WorkersFolder(const WorkersFolder&) = delete;
};

/// A worker's process of the program `hopyard` that lies beside this one. It does not outlive this object.
class WorkerProcess {
 public:
  WorkerProcess(const std::string& config, const std::string& directory, std::uint32_t rank, std::uint32_t workers,
                std::uint16_t port);
  WorkerProcess(WorkerProcess&& other);
  ~WorkerProcess() { kill(); }
  void kill();
  /// Until it has ended well.
  void wait();

 private:
  pid_t process_ = 0;
};

/// A port that no other call has returned.
std::uint16_t next_port();
std::vector<WorkerProcess> start_workers(const std::string& config, const std::string& directory, std::uint32_t workers,
                                         std::uint16_t port);

/// What a finished run says of itself.
struct FinishedRun {
  std::string directory;
  double wall_s = 0, hop_s = 0, waited_s = 0, busy_s = 0;  ///< of all workers
  Bytes hop_bytes = 0, exchanged_bytes = 0;                ///< over the network
  Bytes stored = 0;                                        ///< the most at a time, summed over workers
  std::uint64_t hops = 0;
  double score = 0;  ///< the best trial's last
};
/// Runs it to its end, in the folder's directory `name`.
FinishedRun run_workers(const std::string& config, const std::string& name, std::uint32_t workers);

/// What differs between the configs of benchmarks.
struct WorkersConfig {
  std::string train, valid, checkpoint;  ///< folders
  std::uint32_t valid_rows = 64, epochs = 1, batch_size = 32;
  std::string devices = "{type: cpu, count: 1, threads: 1}";
  std::string host_memory = "3GiB";
  std::string lr = "{grid: [1.0e-5, 3.0e-5, 5.0e-5, 1.0e-4]}";
  std::string data, train_more;            ///< further keys of these sections, each with a comma before it
  std::string workers = "replication: 1";  ///< the section
  std::string execute;                     ///< the section
};
/// Writes it into the folder; the file's path.
std::string write_config(const WorkersConfig& config, const std::string& name);

}  // namespace hopyard
