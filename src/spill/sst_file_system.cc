#include "spill/sst_file_system.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <rocksdb/file_system.h>

#include "base/bytes.h"
#include "spill/disk_tier.h"
#include "spill/huge_pages.h"

namespace hopyard {

namespace {

using rocksdb::FileOptions;
using rocksdb::FSDirectory;
using rocksdb::FSRandomAccessFile;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr Bytes kSector = 4 * KiB;           // what O_DIRECT wants offsets, lengths and addresses to be multiples of
constexpr Bytes kLentBytesMin = 1 * MiB;     // blocks from this size on are lent to RocksDB, not copied
constexpr Bytes kStagingBytes = kDiskStagingBytes / 2;  // one half for reading, one for writing

/// Memory of one thread.
class Staging {
 public:
  ~Staging() {
    if (data_ != nullptr) unmap_memory(data_, kStagingBytes);
  }
  char* data() {
    if (data_ == nullptr) data_ = map_memory(kStagingBytes);
    return reinterpret_cast<char*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
};

IOStatus error_of(const std::string& path, int error = errno) {
  return error == ENOSPC || error == EDQUOT ? IOStatus::NoSpace(path, std::strerror(error))
                                            : IOStatus::IOError(path, std::strerror(error));
}

/// Reads through the thread's staging memory. A large block is not copied out of there: what Read() returns is valid
/// until the same thread reads again, which is as long as an iterator needs it.
class DirectReader : public FSRandomAccessFile {
 public:
  DirectReader(std::string path, int file) : path_(std::move(path)), file_(file) {}
  ~DirectReader() override { ::close(file_); }

  IOStatus Read(uint64_t offset, size_t size, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) const override {
    thread_local Staging staging;
    const Bytes begin = offset / kSector * kSector, skip = offset - begin;
    if (align_up(skip + size, kSector) > kStagingBytes) return read_in_parts(offset, size, result, scratch, staging);
    Bytes got = 0;
    const auto status = fill(begin, align_up(skip + size, kSector), staging.data(), &got);
    if (!status.ok()) return status;
    *result = Slice(staging.data() + skip, std::min<Bytes>(size, got > skip ? got - skip : 0));
    if (size >= kLentBytesMin) return status;
    std::memcpy(scratch, result->data(), result->size());
    *result = Slice(scratch, result->size());
    return status;
  }

 private:
  /// Fills `data` with as much of the file as there is; 0 bytes read is its end.
  IOStatus fill(Bytes offset, Bytes size, char* data, Bytes* got) const {
    for (*got = 0; *got < size;) {
      const ssize_t read = ::pread(file_, data + *got, size - *got, static_cast<off_t>(offset + *got));
      if (read == 0) break;
      if (read < 0 && errno != EINTR) return error_of(path_);
      if (read > 0) *got += static_cast<Bytes>(read);
      if (*got % kSector != 0) break;  // the file's end; a direct read could not go on from here
    }
    return IOStatus::OK();
  }

  IOStatus read_in_parts(uint64_t offset, size_t size, Slice* result, char* scratch, Staging& staging) const {
    Bytes done = 0;
    while (done < size) {
      const Bytes begin = (offset + done) / kSector * kSector, skip = offset + done - begin;
      const Bytes want = std::min(align_up(skip + size - done, kSector), kStagingBytes);
      Bytes got = 0;
      const auto status = fill(begin, want, staging.data(), &got);
      if (!status.ok()) return status;
      const Bytes useful = std::min<Bytes>(got > skip ? got - skip : 0, size - done);
      if (useful == 0) break;
      std::memcpy(scratch + done, staging.data() + skip, useful);
      done += useful;
    }
    *result = Slice(scratch, done);
    return IOStatus::OK();
  }

  const std::string path_;
  const int file_;
};

/// Gathers what is appended in the thread's staging memory and writes it when that is full; the rest, padded and cut
/// again, on Close(). One thread at a time writes one file at a time, which is how SstFileWriter works.
class DirectWriter : public FSWritableFile {
 public:
  DirectWriter(std::string path, int file) : path_(std::move(path)), file_(file) {}
  ~DirectWriter() override {
    if (file_ >= 0) ::close(file_);
  }

  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    for (Bytes done = 0; done < data.size();) {
      const Bytes part = std::min<Bytes>(data.size() - done, kStagingBytes - staged_);
      std::memcpy(staging().data() + staged_, data.data() + done, part);
      staged_ += part;
      done += part;
      if (staged_ < kStagingBytes) continue;
      const auto status = write_staged(kStagingBytes);
      if (!status.ok()) return status;
    }
    return IOStatus::OK();
  }
  using FSWritableFile::Append;

  IOStatus Close(const IOOptions&, IODebugContext*) override {
    if (file_ < 0) return IOStatus::OK();
    const Bytes size = written_ + staged_, padded = align_up(staged_, kSector);
    std::memset(staging().data() + staged_, 0, padded - staged_);
    auto status = write_staged(padded);
    if (status.ok() && ::ftruncate(file_, static_cast<off_t>(size)) != 0) status = error_of(path_);
    if (::close(std::exchange(file_, -1)) != 0 && status.ok()) status = error_of(path_);
    return status;
  }

  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return written_ + staged_; }

 private:
  static Staging& staging() {
    thread_local Staging staging;
    return staging;
  }

  IOStatus write_staged(Bytes size) {
    for (Bytes done = 0; done < size;) {
      const ssize_t wrote = ::pwrite(file_, staging().data() + done, size - done, static_cast<off_t>(written_ + done));
      if (wrote < 0 && errno != EINTR) return error_of(path_);
      if (wrote > 0) done += static_cast<Bytes>(wrote);
    }
    written_ += size;
    staged_ = 0;
    return IOStatus::OK();
  }

  const std::string path_;
  int file_;
  Bytes written_ = 0, staged_ = 0;
};

class UnsyncedFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  using FSWritableFileOwnerWrapper::FSWritableFileOwnerWrapper;
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Fsync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
};

class UnsyncedDirectory : public FSDirectory {
 public:
  IOStatus Fsync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
};

class SstFileSystem : public rocksdb::FileSystemWrapper {
 public:
  explicit SstFileSystem(const SstFileSystemOptions& options)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), options_(options) {}
  const char* Name() const override { return "SstFileSystem"; }

  IOStatus NewRandomAccessFile(const std::string& name, const FileOptions& options,
                               std::unique_ptr<FSRandomAccessFile>* file, IODebugContext* debug) override {
    if (!is_direct(name)) return target()->NewRandomAccessFile(name, options, file, debug);
    const int number = ::open(name.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (number < 0) return errno == ENOENT ? IOStatus::PathNotFound(name) : error_of(name);
    *file = std::make_unique<DirectReader>(name, number);
    return IOStatus::OK();
  }
  IOStatus NewWritableFile(const std::string& name, const FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                           IODebugContext* debug) override {
    if (options_.synced || !is_direct(name)) return wrap(target()->NewWritableFile(name, options, file, debug), file);
    const int number = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0666);
    if (number < 0) return error_of(name);
    *file = std::make_unique<DirectWriter>(name, number);
    return IOStatus::OK();
  }
  IOStatus ReopenWritableFile(const std::string& name, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) override {
    return wrap(target()->ReopenWritableFile(name, options, file, debug), file);
  }
  IOStatus ReuseWritableFile(const std::string& name, const std::string& old_name, const FileOptions& options,
                             std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) override {
    return wrap(target()->ReuseWritableFile(name, old_name, options, file, debug), file);
  }
  IOStatus NewDirectory(const std::string& name, const IOOptions& io, std::unique_ptr<FSDirectory>* folder,
                        IODebugContext* debug) override {
    if (options_.synced) return target()->NewDirectory(name, io, folder, debug);
    *folder = std::make_unique<UnsyncedDirectory>();
    return IOStatus::OK();
  }

 private:
  bool is_direct(const std::string& name) const { return options_.direct_io && name.ends_with(".sst"); }
  IOStatus wrap(IOStatus status, std::unique_ptr<FSWritableFile>* file) const {
    if (status.ok() && !options_.synced) *file = std::make_unique<UnsyncedFile>(std::move(*file));
    return status;
  }
  const SstFileSystemOptions options_;
};

}  // namespace

std::unique_ptr<rocksdb::Env> make_sst_env(const SstFileSystemOptions& options) {
  return rocksdb::NewCompositeEnv(std::make_shared<SstFileSystem>(options));
}

}  // namespace hopyard
