// The disk tier over RocksDB: version numbers, capacity and recovery on top of two SstStores.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <filesystem>
#include <mutex>

#include "base/clock.h"
#include "base/failure.h"
#include "base/files.h"
#include "base/log.h"
#include "spill/disk_ledger.h"
#include "spill/disk_tier.h"
#include "spill/sst_store.h"

namespace hopyard {

namespace {

namespace fs = std::filesystem;

constexpr int kIncarnationShift = 32;  // version = incarnation << 32 | counter

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

void empty_folder(const std::string& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) fail(ExitCode::input, folder, ": cannot empty this folder of the disk tier: ", error.message());
  make_folder(folder);
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

/// A file outside of the databases; removed with this object, unless ingestion has moved it away.
class IncomingFile {
 public:
  IncomingFile(const std::string& folder, Version version) : path_(text::cat(folder, "/", version, ".sst")) {}
  ~IncomingFile() { ::unlink(path_.c_str()); }
  IncomingFile(const IncomingFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

/// Gives reserved bytes back unless they were used.
class Reserved {
 public:
  Reserved(DiskLedger& ledger, Bytes bytes) : ledger_(ledger), bytes_(bytes) { ledger_.reserve(bytes); }
  ~Reserved() { ledger_.give_back(bytes_); }
  Reserved(const Reserved&) = delete;
  void use(Version version, DiskLedger::Entry entry) {
    ledger_.add(version, entry, bytes_);
    bytes_ = 0;
  }

 private:
  DiskLedger& ledger_;
  Bytes bytes_;
};

class RocksDiskTier : public DiskTier {
 public:
  explicit RocksDiskTier(const RocksOptions& options)
      : folder_(ready_folder(options.folder)),
        direct_io_(options.direct_io && takes_direct_io(folder_)),
        ledger_(folder_, options.capacity),
        durable_(folder_ + "/durable", /*synced=*/true, direct_io_) {
    if (options.direct_io && !direct_io_) HOPYARD_WARN << folder_ << ": its file system refuses direct I/O";
    // Only now is this process known to be alone here: the durable store holds a lock.
    empty_folder(incoming_folder());
    empty_folder(folder_ + "/spilled");
    spilled_ = std::make_unique<SstStore>(folder_ + "/spilled", /*synced=*/false, direct_io_);
    start_incarnation();
  }

  Version write(std::span<const BlobToWrite> blobs, Durability durability) override {
    require(!blobs.empty(), "a version holds at least one blob, not 0");
    for (std::size_t i = 1; i < blobs.size(); ++i)
      require(blobs[i - 1].blob < blobs[i].blob, "blob ", blobs[i].blob, " follows blob ", blobs[i - 1].blob);
    const double begin = monotonic_seconds();
    Reserved reserved(ledger_, SstStore::file_bytes_max(blobs));
    const Version version = next_version_++;
    const IncomingFile file(incoming_folder(), version);
    const Bytes size = store(durability).write_file(file.path(), version, blobs);
    store(durability).ingest(file.path());
    reserved.use(version, {size, durability});
    count(blobs, monotonic_seconds() - begin);
    return version;
  }

  // The file gets a second name, which the durable store takes in (and syncs) like a new one; then the first name goes.
  void make_durable(Version version) override {
    const auto entry = ledger_.find(version);
    require(entry.has_value(), "version ", version, " is unknown and cannot be made durable");
    if (entry->durability == Durability::durable) return;
    const IncomingFile file(incoming_folder(), version);
    spilled_->link_file(version, file.path());
    durable_.ingest(file.path());
    ledger_.set_durable(version);
    spilled_->drop(version);
  }

  void read(Version version, std::uint32_t blob, Bytes offset, std::span<std::byte> out) const override {
    const double begin = monotonic_seconds();
    read_where_it_is(version, blob, offset, out);
    const std::lock_guard lock(mutex_);
    counters_.read += out.size();
    counters_.read_seconds += monotonic_seconds() - begin;
  }

  void drop(Version version) override {
    const auto entry = ledger_.remove(version);
    if (!entry) return;
    store(entry->durability).drop(version);
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
  std::string incoming_folder() const { return folder_ + "/incoming"; }
  SstStore& store(Durability durability) { return durability == Durability::durable ? durable_ : *spilled_; }

  void read_where_it_is(Version version, std::uint32_t blob, Bytes offset, std::span<std::byte> out) const {
    const auto entry = ledger_.find(version);
    if (!entry)
      fail(ExitCode::input, "the disk tier in ", folder_, " has no version ", version, " (for blob ", blob,
           "): start again with --fresh");
    if (entry->durability == Durability::durable) return durable_.read(version, blob, offset, out);
    try {
      spilled_->read(version, blob, offset, out);
    } catch (const Failure&) {  // make_durable() may have moved it in the meantime
      const auto now = ledger_.find(version);
      if (!now || now->durability == Durability::spilled) throw;
      durable_.read(version, blob, offset, out);
    }
  }

  void start_incarnation() {
    const std::string path = folder_ + "/incarnation";
    std::uint64_t incarnation = stored_incarnation(path);
    for (const auto& [version, bytes] : durable_.versions()) {
      incarnation = std::max(incarnation, version >> kIncarnationShift);
      ledger_.adopt(version, bytes);
    }
    ++incarnation;
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
  SstStore durable_;
  std::unique_ptr<SstStore> spilled_;
  std::atomic<Version> next_version_{0};
  mutable std::mutex mutex_;  // guards counters_
  mutable DiskCounters counters_;
};

}  // namespace

std::unique_ptr<DiskTier> open_rocks_disk_tier(const RocksOptions& options) {
  return std::make_unique<RocksDiskTier>(options);
}

}  // namespace hopyard
