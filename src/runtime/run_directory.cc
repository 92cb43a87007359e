#include "runtime/run_directory.h"

#include <filesystem>

#include "base/failure.h"

namespace hopyard {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kConfigBytesMax = 1 << 20;
constexpr int kAsideMax = 10'000;

std::string move_aside(const std::string& directory) {
  for (int i = 1; i < kAsideMax; ++i) {
    const std::string aside = text::cat(directory, ".", i);
    if (fs::exists(aside)) continue;
    std::error_code error;
    fs::rename(directory, aside, error);
    if (error) fail(ExitCode::input, directory, ": cannot be moved to ", aside, ": ", error.message());
    return aside;
  }
  fail(ExitCode::usage, directory, ": too many old runs beside it; remove some of ", directory, ".*");
}

FileLock lock_or_fail(const RunPaths& paths) {
  auto lock = FileLock::try_acquire(paths.lock());
  if (!lock)
    fail(ExitCode::usage, paths.root, ": is in use by another run; wait for it, stop it, or choose another --dir");
  return std::move(*lock);
}

}  // namespace

std::string RunPaths::disk(const ExperimentConfig& config) const {
  return fs::path(config.disk_path).is_absolute() ? config.disk_path : root + "/" + config.disk_path;
}

RunDirectory RunDirectory::open(const ExperimentConfig& config, const std::string& directory, bool fresh) {
  const RunPaths paths(directory);
  std::optional<std::string> moved_to;
  if (fresh && fs::exists(directory)) {
    { const FileLock in_use = lock_or_fail(paths); }
    moved_to = move_aside(directory);
  }
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail(ExitCode::input, directory, ": cannot be created: ", error.message());
  FileLock lock = lock_or_fail(paths);
  if (fs::exists(paths.config())) {
    const std::string recorded = config_digest(recorded_config(paths));
    if (recorded != config_digest(config))
      fail(ExitCode::usage, directory, ": belongs to another config (see ", paths.config(),
           "); choose another --dir, or --fresh to move it aside");
  } else {
    write_file_atomically(paths.config(), resolved_yaml(config));
  }
  return RunDirectory(paths, std::move(lock), std::move(moved_to));
}

ExperimentConfig recorded_config(const RunPaths& paths) {
  if (!fs::exists(paths.config()))
    fail(ExitCode::input, paths.root, ": is not a run directory (it has no config.yaml); `hopyard run` makes one");
  return parse_config(read_file(paths.config(), kConfigBytesMax), paths.config(), {});
}

}  // namespace hopyard
