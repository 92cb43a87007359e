#include "spill/sst_file_system.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <rocksdb/file_system.h>

#include "base/bytes.h"
#include "spill/direct_io.h"

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

constexpr Bytes kLentBytesMin = 1 * MiB;  // blocks from this size on are lent to RocksDB, not copied

IOStatus error_of(const std::string& path, int error = errno) {
  return error == ENOSPC || error == EDQUOT ? IOStatus::NoSpace(path, std::strerror(error))
                                            : IOStatus::IOError(path, std::strerror(error));
}

/// A large block stays in the thread's staging memory: what Read() returns is valid until the same thread reads again,
/// which is as long as an iterator needs it. Small ones (index, properties) are kept by RocksDB and are copied.
class SstReader : public FSRandomAccessFile {
 public:
  SstReader(std::string path, int file) : path_(std::move(path)), file_(file) {}

  IOStatus Read(uint64_t offset, size_t size, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) const override {
    const char* data = nullptr;
    Bytes done = 0;
    while (true) {
      const Bytes part = std::min<Bytes>(size - done, kReadSlot - (offset + done) % kSector);
      const long got = file_.read(offset + done, part, &data);
      if (got < 0) return error_of(path_, static_cast<int>(-got));
      const auto there = static_cast<Bytes>(got);
      if (done == 0 && there == size && size >= kLentBytesMin) {
        *result = Slice(data, size);
        return IOStatus::OK();
      }
      std::memcpy(scratch + done, data, there);
      done += there;
      if (done == size || there < part) break;
    }
    *result = Slice(scratch, done);
    return IOStatus::OK();
  }

 private:
  const std::string path_;
  const DirectReader file_;
};

class SstWriter : public FSWritableFile {
 public:
  SstWriter(std::string path, int file) : path_(std::move(path)), file_(file) {}

  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    return status_of(file_.append(data.data(), data.size()));
  }
  using FSWritableFile::Append;
  IOStatus Close(const IOOptions&, IODebugContext*) override { return status_of(file_.close()); }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return file_.size(); }

 private:
  IOStatus status_of(int error) const { return error == 0 ? IOStatus::OK() : error_of(path_, error); }
  const std::string path_;
  DirectWriter file_;
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
    *file = std::make_unique<SstReader>(name, number);
    return IOStatus::OK();
  }
  IOStatus NewWritableFile(const std::string& name, const FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                           IODebugContext* debug) override {
    if (options_.synced || !is_direct(name)) return wrap(target()->NewWritableFile(name, options, file, debug), file);
    const int number = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0666);
    if (number < 0) return error_of(name);
    *file = std::make_unique<SstWriter>(name, number);
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
