#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/failure.h"

namespace hopyard {

namespace {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  int operator*() const { return number_; }

 private:
  int number_;
};

ExitCode code_of(int error) { return error == ENOSPC || error == EDQUOT ? ExitCode::capacity : ExitCode::input; }

[[noreturn]] void fail_on(const std::string& path, const char* what, int error = errno) {
  fail(code_of(error), path, ": cannot ", what, ": ", std::strerror(error));
}

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

Descriptor open_for_reading(const std::string& path, struct stat& status) {
  const int number = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (number < 0) fail_on(path, "open it");
  if (::fstat(number, &status) != 0) {
    const int error = errno;
    ::close(number);
    fail_on(path, "examine it", error);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(number);
    fail(ExitCode::input, path, ": is not a regular file");
  }
  return Descriptor(number);
}

}  // namespace

void sync_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (*file < 0 || ::fdatasync(*file) != 0) fail_on(path, "make it durable");
}

void sync_folder(const std::string& path) {
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (*folder < 0 || ::fsync(*folder) != 0) fail_on(path, "make the folder durable");
}

AtomicFile::AtomicFile(const std::string& path, FileAccess access) : path_(path), temporary_(path + ".tmp") {
  const mode_t mode = access == FileAccess::owner ? 0600 : 0666;
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (descriptor_ < 0) fail_on(temporary_, "create it");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(descriptor_, bytes.data(), bytes.size());
    if (wrote < 0 && errno != EINTR) fail_on(temporary_, "write it");
    if (wrote > 0) bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail_on(temporary_, "make it durable");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail_on(path_, "replace it");
  ::close(std::exchange(descriptor_, -1));
  sync_folder(folder_of(path_));
}

void write_file_atomically(const std::string& path, const std::string& content, FileAccess access) {
  AtomicFile file(path, access);
  file.write(std::as_bytes(std::span(content)));
  file.commit();
}

std::string read_file(const std::string& path, std::size_t limit_bytes) {
  struct stat status {};
  const Descriptor file = open_for_reading(path, status);
  if (static_cast<std::size_t>(status.st_size) > limit_bytes)
    fail(ExitCode::input, path, ": has ", status.st_size, " bytes, more than the ", limit_bytes,
         " that such a file may have");
  std::string content(static_cast<std::size_t>(status.st_size), '\0');
  for (std::size_t done = 0; done < content.size();) {
    const ssize_t got = ::read(*file, content.data() + done, content.size() - done);
    if (got < 0 && errno != EINTR) fail_on(path, "read it");
    if (got == 0) fail(ExitCode::input, path, ": became shorter while it was read");
    if (got > 0) done += static_cast<std::size_t>(got);
  }
  return content;
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  struct stat status {};
  const Descriptor file = open_for_reading(path, status);
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, *file, 0);
  if (address == MAP_FAILED) fail_on(path, "map it into memory");
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::optional<FileLock> FileLock::try_acquire(const std::string& path) {
  const int number = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (number < 0) fail_on(path, "open the lock");
  if (::flock(number, LOCK_EX | LOCK_NB) == 0) return FileLock(number);
  const int error = errno;
  ::close(number);
  if (error != EWOULDBLOCK) fail_on(path, "take the lock", error);
  return std::nullopt;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace hopyard
