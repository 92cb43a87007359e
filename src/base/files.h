// The one door to durable files: write-then-rename, fsync, locks, and read-only maps.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace hopyard {

/// Who may read a new file: whom the system's usual mask lets, or its owner alone (mode 0600).
enum class FileAccess { usual, owner };
/// Replaces `path` with `content` so that a crash leaves the old file or the new one, never a part; durable on return.
void write_file_atomically(const std::string& path, const std::string& content, FileAccess access = FileAccess::usual);
/// The same for what is too large to be one string: write() in order, then commit(). Without commit() nothing changes
/// and the part written so far is removed.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path, FileAccess access = FileAccess::usual);
  AtomicFile(const AtomicFile&) = delete;
  ~AtomicFile();
  void write(std::span<const std::byte> bytes);
  /// Durable under its name on return.
  void commit();

 private:
  std::string path_, temporary_;
  int descriptor_ = -1;
};
/// The whole file; Failure(input) names it when it is missing, unreadable or longer than `limit_bytes`.
std::string read_file(const std::string& path, std::size_t limit_bytes);
/// Makes what was written to a file durable, but not its name.
void sync_file(const std::string& path);
/// Makes a folder's entries (created, renamed, removed files) durable.
void sync_folder(const std::string& path);

/// A file mapped read-only; stays mapped as long as the object lives. Move-only.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// An advisory lock on a file, held while the object lives; released by the kernel when the process dies. Move-only.
class FileLock {
 public:
  /// Nothing when another process holds it.
  static std::optional<FileLock> try_acquire(const std::string& path);
  FileLock(FileLock&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace hopyard
