#include "runtime/run_directory.h"

#include <algorithm>
#include <filesystem>

#include "base/failure.h"
#include "formats/json.h"
#include "runtime/request_channel.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_state_book.h"

namespace hopyard {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kConfigBytesMax = 1 << 20;
constexpr int kAsideMax = 10'000, kDiskFoldersMax = 100'000;
constexpr const char* kDiskFact = "disk";

/// "runs/a/" would be moved into itself.
std::string without_last_slash(std::string directory) {
  while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  return directory;
}

/// A run has a journal; one that ended before it made its journal has nothing else than this.
bool may_be_moved(const RunPaths& paths) {
  if (fs::exists(paths.journal())) return true;
  return std::all_of(fs::directory_iterator(paths.root), fs::directory_iterator(), [&](const auto& entry) {
    const std::string path = paths.root + "/" + entry.path().filename().string();
    return path == paths.lock() || path.starts_with(paths.config());
  });
}

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

/// `path`, which is below the run directory unless it is absolute, seen from there; nothing where it leads out of it.
std::optional<std::string> inside(const std::string& root, const std::string& path) {
  const fs::path base = fs::absolute(root).lexically_normal();
  const fs::path relative = (base / path).lexically_normal().lexically_relative(base);
  if (relative.empty() || *relative.begin() == "..") return std::nullopt;
  return relative.string();
}

/// Making a folder succeeds once, whoever else tries.
std::string make_own_folder(const std::string& parent, const std::string& name) {
  fs::create_directories(parent);
  for (int i = 1; i < kDiskFoldersMax; ++i) {
    const std::string folder = text::cat(parent, "/", name, "-", i);
    if (fs::create_directory(folder)) return folder;
  }
  fail(ExitCode::usage, parent, ": holds too many folders of old runs; remove some of ", name, "-*");
}

bool anything_committed(const Journal& journal) {
  const auto records = journal.trials();
  return std::any_of(records.begin(), records.end(), [](const auto& record) { return record.last.has_value(); });
}

/// The fact about the disk tier: the path as configured, and where it led to, seen from the run directory.
struct DiskPlace {
  std::string path, folder;
  std::string seen_from(const std::string& root) const { return (fs::path(root) / folder).string(); }
};

std::optional<DiskPlace> disk_place(const RunPaths& paths, const Journal& journal) {
  const auto fact = journal.fact(kDiskFact);
  if (!fact) return std::nullopt;
  const std::string where = paths.journal() + ": " + kDiskFact;
  const Json place = parse_json(*fact, where);
  return DiskPlace{json_get<std::string>(place, "path", where), json_get<std::string>(place, "folder", where)};
}

DiskPlace new_place(const std::string& root, const ExperimentConfig& config) {
  if (const auto folder = inside(root, config.disk_path)) return {config.disk_path, *folder};
  const std::string outside = (fs::absolute(root) / config.disk_path).lexically_normal().string();
  return {config.disk_path, make_own_folder(outside, config.name)};
}

/// Of a run that was refused before it asked for a trial: nothing that another config could not begin with. Its record
/// of the config must be our own writing.
bool never_began(const RunPaths& paths, const ExperimentConfig& recorded) {
  const auto is_empty = [](const std::string& database) {  // it was being made
    std::error_code none;
    return fs::file_size(database, none) == 0 || none;
  };
  const auto is_unused = [](const Journal& journal) {
    return journal.trials().empty() && journal.operations().empty() && !journal.fact("finished");
  };
  return (is_empty(paths.journal()) || is_unused(*open_journal(paths.journal(), true))) &&
         (is_empty(paths.states()) || open_state_book(paths.states(), true)->all().empty()) &&
         queued_requests(paths.root).empty() && read_file(paths.config(), kConfigBytesMax) == resolved_yaml(recorded);
}

void forget(const RunPaths& paths) {
  for (const auto& database : {paths.journal(), paths.states()})
    for (const char* part : {"", "-wal", "-shm"}) fs::remove(database + part);
}

FileLock lock_or_fail(const RunPaths& paths) {
  auto lock = FileLock::try_acquire(paths.lock());
  if (!lock)
    fail(ExitCode::usage, paths.root, ": is in use by another run; wait for it, stop it, or choose another --dir");
  return std::move(*lock);
}

}  // namespace

RunDirectory RunDirectory::open(const ExperimentConfig& config, const std::string& root, bool fresh) {
  const std::string directory = without_last_slash(root);
  const RunPaths paths(directory);
  std::optional<std::string> moved_to;
  if (fresh && fs::exists(directory)) {
    if (!may_be_moved(paths))
      fail(ExitCode::usage, directory,
           ": --fresh moves runs aside, and this is none (it has no journal.sqlite); choose another --dir");
    { const FileLock in_use = lock_or_fail(paths); }
    moved_to = move_aside(directory);
  }
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail(ExitCode::input, directory, ": cannot be created: ", error.message());
  FileLock lock = lock_or_fail(paths);
  if (fs::exists(paths.config())) {
    const ExperimentConfig recorded = recorded_config(paths);
    if (config_digest(recorded) != config_digest(config)) {
      if (!never_began(paths, recorded))
        fail(ExitCode::usage, directory, ": belongs to another config (see ", paths.config(),
             "); choose another --dir, or --fresh to move it aside");
      forget(paths);
      write_file_atomically(paths.config(), resolved_yaml(config));
    }
  } else {
    write_file_atomically(paths.config(), resolved_yaml(config));
  }
  return RunDirectory(paths, std::move(lock), std::move(moved_to));
}

void RunDirectory::require_free(const RunPaths& paths) {
  if (fs::exists(paths.lock())) lock_or_fail(paths);
}

ExperimentConfig recorded_config(const RunPaths& paths) {
  if (!fs::exists(paths.config()))
    fail(ExitCode::input, paths.root, ": is not a run directory (it has no config.yaml); `hopyard run` makes one");
  return parse_config(read_file(paths.config(), kConfigBytesMax), paths.config(), {});
}

std::string claim_disk_folder(const RunPaths& paths, const ExperimentConfig& config, Journal& journal) {
  if (const auto known = disk_place(paths, journal)) {
    if (known->path == config.disk_path) return known->seen_from(paths.root);
    if (anything_committed(journal))
      fail(ExitCode::usage, "resources.disk.path: is ", config.disk_path, ", but the state of this run lies in ",
           known->seen_from(paths.root), "; set it to ", known->path, " again");
  }
  const DiskPlace place = new_place(paths.root, config);
  journal.put_fact(kDiskFact, Json{{"path", place.path}, {"folder", place.folder}}.dump());
  return place.seen_from(paths.root);
}

std::string claimed_disk_folder(const RunPaths& paths, const Journal& journal) {
  const auto place = disk_place(paths, journal);
  if (!place) fail(ExitCode::input, paths.journal(), ": names no folder of the disk tier; run it again with --fresh");
  return place->seen_from(paths.root);
}

}  // namespace hopyard
