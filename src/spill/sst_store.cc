#include "spill/sst_store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <rocksdb/convenience.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

#include "base/failure.h"
#include "spill/sst_file_system.h"

namespace hopyard {

namespace {

using rocksdb::Slice;

constexpr const char* kSpaceNeeded = ": free some space on its disk and run the same command again";

template <class Number>
void append_big_endian(std::string& key, Number number) {
  for (int shift = static_cast<int>(sizeof(Number)) * 8 - 8; shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(number >> shift));
}

Version version_of(const std::string& key) {
  Version version = 0;
  for (std::size_t i = 0; i < 8 && i < key.size(); ++i) version = version << 8 | static_cast<unsigned char>(key[i]);
  return version;
}

std::string chunk_key(Version version, std::uint32_t blob, std::uint32_t chunk) {
  std::string key;
  append_big_endian(key, version);
  append_big_endian(key, blob);
  append_big_endian(key, chunk);
  return key;
}

std::string first_mark(Version version) {  // a prefix sorts before all that it begins
  std::string key;
  append_big_endian(key, version);
  return key;
}

std::string last_mark(Version version) { return chunk_key(version, ~0u, ~0u) + '\xff'; }

Slice slice(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

rocksdb::Options store_options(rocksdb::Env* env) {
  rocksdb::BlockBasedTableOptions table;
  table.block_size = 1;  // every entry is a block of its own
  table.block_restart_interval = 1;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.no_block_cache = true;
  table.enable_index_compression = false;
  table.max_auto_readahead_size = 0;  // a chunk is long enough; readahead would copy it once more

  rocksdb::Options options;
  options.env = env;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  options.disable_auto_compactions = true;
  options.num_levels = 2;  // level 0, which stays empty, and the one that files are ingested into
  options.writable_file_max_buffer_size = 64 * KiB;  // larger values pass it by and are not copied into it
  options.write_buffer_size = 1 * MiB;
  options.max_manifest_file_size = 1 * MiB;
  options.keep_log_file_num = 1;
  options.max_log_file_size = 1 * MiB;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.max_background_jobs = 1;
  return options;
}

}  // namespace

SstStore::SstStore(const std::string& folder, bool synced, bool direct_io)
    : folder_(folder),
      writer_env_(make_sst_env({.synced = false, .direct_io = direct_io})),
      db_env_(make_sst_env({.synced = synced, .direct_io = direct_io})) {
  rocksdb::DB* db = nullptr;
  const auto status = rocksdb::DB::Open(store_options(db_env_.get()), folder, &db);
  if (!status.ok()) fail_on(status, "cannot be opened");
  db_.reset(db);
}

SstStore::~SstStore() = default;

void SstStore::fail_on(const rocksdb::Status& status, const std::string& doing) const {
  const std::string what = text::cat("the disk tier in ", folder_, " ", doing, ": ", status.ToString());
  if (status.IsNoSpace()) throw DiskFull(what + kSpaceNeeded);
  fail(ExitCode::input, what,
       status.IsCorruption() ? ": the disk gave back other bytes than were written; start again with --fresh, on "
                               "another disk if it happens again"
                             : "");
}

Bytes SstStore::file_bytes_max(std::span<const BlobToWrite> blobs) {
  constexpr Bytes kPerFile = 8 * KiB, kPerChunk = 256;  // properties and footer; key, index entry and trailer
  Bytes bytes = kPerFile;
  for (const auto& blob : blobs) bytes += blob.bytes.size() + (blob.bytes.size() / kChunkBytes + 1) * kPerChunk;
  return align_up(bytes, 4 * KiB);
}

Bytes SstStore::write_file(const std::string& path, Version version, std::span<const BlobToWrite> blobs) const {
  const auto options = store_options(writer_env_.get());
  rocksdb::SstFileWriter writer(rocksdb::EnvOptions(options), options, nullptr, /*invalidate_page_cache=*/false);
  auto status = writer.Open(path);
  if (status.ok()) status = writer.Put(first_mark(version), Slice());
  for (const auto& blob : blobs) {
    for (Bytes offset = 0; offset < blob.bytes.size() && status.ok(); offset += kChunkBytes) {
      const auto chunk = blob.bytes.subspan(offset, std::min<Bytes>(kChunkBytes, blob.bytes.size() - offset));
      status =
          writer.Put(chunk_key(version, blob.blob, static_cast<std::uint32_t>(offset / kChunkBytes)), slice(chunk));
    }
  }
  if (status.ok()) status = writer.Put(last_mark(version), Slice());
  rocksdb::ExternalSstFileInfo info;
  if (status.ok()) status = writer.Finish(&info);
  if (!status.ok()) fail_on(status, text::cat("cannot write version ", version));
  return info.file_size;
}

void SstStore::ingest(const std::string& path) {
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  options.failed_move_fall_back_to_copy = false;
  options.allow_global_seqno = false;  // ranges never overlap, as version numbers are never used twice
  options.allow_blocking_flush = false;
  options.write_global_seqno = false;
  options.fail_if_not_bottommost_level = true;  // DeleteFilesInRange never drops a file from level 0
  const auto status = db_->IngestExternalFile({path}, options);
  if (!status.ok()) fail_on(status, text::cat("cannot take ", path, " in"));
}

// An iterator hands out a pointer into the block that it has read; Get would copy the value once more.
void SstStore::read(Version version, std::uint32_t blob, Bytes offset, std::span<std::byte> out) const {
  if (out.empty()) return;
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  const std::string end = last_mark(version);
  const Slice upper(end);
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> chunks(db_->NewIterator(options));
  auto chunk = static_cast<std::uint32_t>(offset / kChunkBytes);
  Bytes skip = offset % kChunkBytes;
  chunks->Seek(chunk_key(version, blob, chunk));
  while (true) {
    const bool there = chunks->Valid() && chunks->key() == Slice(chunk_key(version, blob, chunk));
    if (!chunks->status().ok())
      fail_on(chunks->status(), text::cat("cannot read blob ", blob, " of version ", version));
    if (!there || chunks->value().size() <= skip)
      fail(ExitCode::input, "the disk tier in ", folder_, " has no byte ", chunk * kChunkBytes + skip, " of blob ",
           blob, " of version ", version, ": start again with --fresh");
    const auto size = std::min<Bytes>(chunks->value().size() - skip, out.size());
    std::memcpy(out.data(), chunks->value().data() + skip, size);
    out = out.subspan(size);
    if (out.empty()) return;
    skip = 0;
    ++chunk;
    chunks->Next();
  }
}

void SstStore::drop(Version version) {
  const std::string begin = first_mark(version), end = last_mark(version);
  const Slice from(begin), to(end);
  const auto status = rocksdb::DeleteFilesInRange(db_.get(), db_->DefaultColumnFamily(), &from, &to);
  if (!status.ok()) fail_on(status, text::cat("cannot drop version ", version));
}

void SstStore::link_file(Version version, const std::string& path) const {
  const std::string begin = first_mark(version), end = last_mark(version);
  const rocksdb::Range range(begin, end);
  rocksdb::TablePropertiesCollection files;
  const auto status = db_->GetPropertiesOfTablesInRange(db_->DefaultColumnFamily(), &range, 1, &files);
  if (!status.ok()) fail_on(status, text::cat("cannot find version ", version));
  require(files.size() == 1, "version ", version, " is in ", files.size(), " files of ", folder_);
  if (::link(files.begin()->first.c_str(), path.c_str()) == 0) return;
  const int error = errno;
  const std::string what =
      text::cat(path, ": cannot make a second name for ", files.begin()->first, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) throw DiskFull(what + kSpaceNeeded);
  fail(ExitCode::input, what);
}

std::map<Version, Bytes> SstStore::versions() const {
  std::vector<rocksdb::LiveFileMetaData> files;
  db_->GetLiveFilesMetaData(&files);
  std::map<Version, Bytes> versions;
  for (const auto& file : files) versions[version_of(file.smallestkey)] = file.size;
  return versions;
}

}  // namespace hopyard
