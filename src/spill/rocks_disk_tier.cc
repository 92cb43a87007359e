// The disk tier: files of versions, and RocksDB, which says which of them are durable and what is in them.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <filesystem>
#include <memory>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "base/failure.h"
#include "base/files.h"
#include "base/log.h"
#include "spill/disk_ledger.h"
#include "spill/disk_tier.h"
#include "spill/version_file.h"
#include "spill/version_index.h"

namespace hopyard {

namespace {

namespace fs = std::filesystem;

constexpr int kIncarnationShift = 32;  // version = incarnation << 32 | counter
constexpr const char* kFileEnding = ".blobs";

bool takes_direct_io(const std::string& folder) {
  const std::string path = folder + "/direct-io-probe";
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0666);
  if (file >= 0) ::close(file);
  ::unlink(path.c_str());
  return file >= 0;
}

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ExitCode::input, folder, ": cannot make this folder for the disk tier: ", error.message());
}

std::string ready_folder(const std::string& folder) {
  make_folder(folder);
  return folder;
}

std::uint64_t stored_incarnation(const std::string& path) {
  if (!fs::exists(path)) return 0;
  const std::string text = read_file(path, 32);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ExitCode::input, path, ": holds no number; start again with --fresh");
  return number;
}

/// Gives reserved bytes back, and removes the file, unless they were used.
class IncomingFile {
 public:
  IncomingFile(DiskLedger& ledger, std::string path, Bytes bytes)
      : ledger_(ledger), path_(std::move(path)), bytes_(bytes) {
    ledger_.reserve(bytes_);
  }
  ~IncomingFile() {
    if (kept_) return;
    ::unlink(path_.c_str());
    ledger_.give_back(bytes_);
  }
  IncomingFile(const IncomingFile&) = delete;
  const std::string& path() const { return path_; }
  void keep() { kept_ = true; }

 private:
  DiskLedger& ledger_;
  const std::string path_;
  const Bytes bytes_;
  bool kept_ = false;
};

class RocksDiskTier : public DiskTier {
 public:
  explicit RocksDiskTier(const RocksOptions& options)
      : folder_(ready_folder(options.folder)),
        direct_io_(options.direct_io && takes_direct_io(folder_)),
        ledger_(folder_, options.capacity),
        index_(folder_ + "/index") {
    if (options.direct_io && !direct_io_) HOPYARD_WARN << folder_ << ": its file system refuses direct I/O";
    make_folder(versions_folder());
    adopt_versions();  // only now is this process known to be alone here: the index holds a lock
    start_incarnation();
  }

  Version write(std::span<const BlobToWrite> blobs, Durability durability) override {
    require(!blobs.empty(), "a version holds at least one blob, not 0");
    for (std::size_t i = 1; i < blobs.size(); ++i)
      require(blobs[i - 1].blob < blobs[i].blob, "blob ", blobs[i].blob, " follows blob ", blobs[i - 1].blob);
    const double begin = monotonic_seconds();
    const Version version = next_version_++;
    IncomingFile file(ledger_, path_of(version), version_file_bytes(blobs));
    const auto stored = std::make_shared<const StoredVersion>(write_version_file(file.path(), blobs, direct_io_));
    if (durability == Durability::durable) sync(version, *stored);
    file.keep();
    ledger_.add(version, {stored->file_bytes(), durability, stored});
    count(blobs, monotonic_seconds() - begin);
    return version;
  }

  void make_durable(Version version) override {
    const auto entry = ledger_.find(version);
    require(entry.has_value(), "version ", version, " is unknown and cannot be made durable");
    if (entry->durability == Durability::durable) return;
    sync(version, *entry->stored);
    ledger_.set_durable(version);
  }

  void read(Version version, std::uint32_t blob, Bytes offset, std::span<std::byte> out) const override {
    const double begin = monotonic_seconds();
    const auto entry = ledger_.find(version);
    const StoredBlob* stored = entry ? entry->stored->find(blob) : nullptr;
    if (stored == nullptr)
      fail(ExitCode::input, "the disk tier in ", folder_, " has no version ", version, " with blob ", blob,
           ": start again with --fresh");
    read_version_file(path_of(version), *stored, offset, out, direct_io_);
    const std::lock_guard lock(mutex_);
    counters_.read += out.size();
    counters_.read_seconds += monotonic_seconds() - begin;
  }

  // After a crash the index may name a file that is gone; never does a file stay that nothing names.
  void drop(Version version) override {
    const auto entry = ledger_.remove(version);
    if (!entry) return;
    if (entry->durability == Durability::durable) index_.remove(version);
    ::unlink(path_of(version).c_str());
    ledger_.give_back(entry->bytes);
  }

  void keep_only(const std::set<Version>& kept) override {
    const auto there = ledger_.versions();
    for (const Version version : kept)
      if (!std::binary_search(there.begin(), there.end(), version))
        fail(ExitCode::input, "the disk tier in ", folder_, " has lost version ", version,
             ", which a commit names: start again with --fresh");
    for (const Version version : there)
      if (!kept.contains(version)) drop(version);
  }

  std::vector<Version> versions() const override { return ledger_.versions(); }
  Bytes capacity() const override { return ledger_.capacity(); }
  Bytes used() const override { return ledger_.used(); }
  Bytes peak() const override { return ledger_.peak(); }
  DiskCounters counters() const override {
    const std::lock_guard lock(mutex_);
    return counters_;
  }

 private:
  std::string versions_folder() const { return folder_ + "/versions"; }
  std::string path_of(Version version) const { return text::cat(versions_folder(), "/", version, kFileEnding); }

  // The order of a commit: the file, its name, then the entry that names it.
  void sync(Version version, const StoredVersion& stored) {
    sync_file(path_of(version));
    sync_folder(versions_folder());
    index_.put(version, stored);
  }

  void adopt_versions() {
    std::set<std::string> named;
    for (auto& [version, stored] : index_.all()) {
      const std::string path = path_of(version);
      std::error_code error;
      if (!fs::exists(path, error)) {
        index_.remove(version);
      } else {
        const Bytes bytes = stored.file_bytes();
        ledger_.adopt(version, {bytes, Durability::durable, std::make_shared<const StoredVersion>(std::move(stored))});
        named.insert(path);
      }
      newest_ = std::max(newest_, version);
    }
    for (const auto& file : fs::directory_iterator(versions_folder()))
      if (!named.contains(file.path().string())) fs::remove_all(file.path());
  }

  void start_incarnation() {
    const std::string path = folder_ + "/incarnation";
    const std::uint64_t incarnation = std::max(stored_incarnation(path), newest_ >> kIncarnationShift) + 1;
    write_file_atomically(path, std::to_string(incarnation));
    next_version_ = incarnation << kIncarnationShift;
  }

  void count(std::span<const BlobToWrite> blobs, double seconds) {
    const std::lock_guard lock(mutex_);
    for (const auto& blob : blobs) counters_.written += blob.bytes.size();
    counters_.write_seconds += seconds;
  }

  const std::string folder_;
  const bool direct_io_;
  DiskLedger ledger_;
  VersionIndex index_;
  Version newest_ = 0;  // that the index named when it was opened
  std::atomic<Version> next_version_{0};
  mutable std::mutex mutex_;  // guards counters_
  mutable DiskCounters counters_;
};

}  // namespace

std::unique_ptr<DiskTier> open_rocks_disk_tier(const RocksOptions& options) {
  return std::make_unique<RocksDiskTier>(options);
}

}  // namespace hopyard
