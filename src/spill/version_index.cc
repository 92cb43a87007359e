#include "spill/version_index.h"

#include "base/failure.h"

namespace hopyard {

namespace {

std::string key_of(Version version) {
  std::string key;
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(version >> shift));
  return key;
}

rocksdb::Options index_options() {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.write_buffer_size = 1 * MiB;
  options.max_manifest_file_size = 1 * MiB;
  options.keep_log_file_num = 1;
  options.max_log_file_size = 1 * MiB;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.max_background_jobs = 1;
  options.paranoid_checks = true;
  return options;
}

}  // namespace

VersionIndex::VersionIndex(const std::string& folder) : folder_(folder) {
  rocksdb::DB* db = nullptr;
  check(rocksdb::DB::Open(index_options(), folder, &db), "cannot be opened");
  db_.reset(db);
}

VersionIndex::~VersionIndex() = default;

void VersionIndex::check(const rocksdb::Status& status, const char* doing) const {
  if (status.ok()) return;
  const std::string what = text::cat("the disk tier's index in ", folder_, " ", doing, ": ", status.ToString());
  if (status.IsNoSpace()) throw DiskFull(what + kSpaceNeeded);
  fail(ExitCode::input, what, status.IsCorruption() ? ": start again with --fresh" : "");
}

void VersionIndex::put(Version version, const StoredVersion& stored) {
  rocksdb::WriteOptions options;
  options.sync = true;
  check(db_->Put(options, key_of(version), stored.to_json()), "cannot be written");
}

void VersionIndex::remove(Version version) {
  check(db_->Delete(rocksdb::WriteOptions(), key_of(version)), "cannot be written");
}

std::map<Version, StoredVersion> VersionIndex::all() const {
  std::map<Version, StoredVersion> found;
  const std::unique_ptr<rocksdb::Iterator> entries(db_->NewIterator(rocksdb::ReadOptions()));
  for (entries->SeekToFirst(); entries->Valid(); entries->Next()) {
    Version version = 0;
    for (const char byte : entries->key().ToString()) version = version << 8 | static_cast<unsigned char>(byte);
    found[version] = StoredVersion::from_json(entries->value().ToString(), text::cat(folder_, ": version ", version));
  }
  check(entries->status(), "cannot be read");
  return found;
}

}  // namespace hopyard
