// The directory of a run: who uses it, which config it belongs to, and where its files are.
#pragma once

#include <optional>
#include <string>

#include "base/files.h"
#include "base/journal.h"
#include "runtime/config.h"

namespace hopyard {

/// Paths inside a run directory.
struct RunPaths {
  explicit RunPaths(std::string directory) : root(std::move(directory)) {}
  std::string root;
  std::string config() const { return root + "/config.yaml"; }
  std::string journal() const { return root + "/journal.sqlite"; }
  std::string lock() const { return root + "/lock"; }
  std::string trials() const { return root + "/trials"; }
  std::string report() const { return root + "/report.html"; }
  std::string timeline() const { return root + "/timeline.svg"; }
  std::string trace() const { return root + "/trace.json"; }
  // of a run of several workers
  std::string states() const { return root + "/states.sqlite"; }
  std::string secret() const { return root + "/secret"; }
  /// What a worker has to itself; the run directory, of the first one.
  RunPaths of_worker(std::uint32_t rank) const {
    return rank == 0 ? *this : RunPaths(root + "/workers/" + std::to_string(rank));
  }
};

/// An opened run directory, locked while the object lives.
class RunDirectory {
 public:
  /// Makes the directory, or takes up the one that is there. `fresh` moves an old one aside first (its new name is in
  /// moved_to()). Failure(usage) when another process uses it, it belongs to another config and has begun, or `fresh`
  /// would move what is no run.
  static RunDirectory open(const ExperimentConfig& config, const std::string& directory, bool fresh);
  /// Failure(usage) when another process uses it now.
  static void require_free(const RunPaths& paths);
  const RunPaths& paths() const { return paths_; }
  const std::optional<std::string>& moved_to() const { return moved_to_; }

 private:
  RunDirectory(RunPaths paths, FileLock lock, std::optional<std::string> moved_to)
      : paths_(std::move(paths)), lock_(std::move(lock)), moved_to_(std::move(moved_to)) {}
  RunPaths paths_;
  FileLock lock_;
  std::optional<std::string> moved_to_;
};

/// The config that a run directory records. Failure(input) when it is no run directory.
ExperimentConfig recorded_config(const RunPaths& paths);

/// The folder of a run's disk tier, which the journal remembers from the first call on. Where resources.disk.path leads
/// out of the run directory, the folder is a new one below it that no other run uses. Failure(usage) when the path is
/// no longer the one that the state lies under.
std::string claim_disk_folder(const RunPaths& paths, const ExperimentConfig& config, Journal& journal);
/// The folder that was claimed. Failure(input) when none was.
std::string claimed_disk_folder(const RunPaths& paths, const Journal& journal);

}  // namespace hopyard
