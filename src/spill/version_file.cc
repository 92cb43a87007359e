#include "spill/version_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/failure.h"
#include "base/huge_pages.h"
#include "formats/digest.h"
#include "formats/json.h"
#include "spill/async_reads.h"

namespace hopyard {

namespace {

/// Memory of one thread, in huge pages, mapped when it is first asked for.
class Staging {
 public:
  Staging() = default;
  ~Staging() {
    if (data_ != nullptr) unmap_memory(data_, kPiece);
  }
  Staging(const Staging&) = delete;
  std::byte* data() {
    if (data_ == nullptr) data_ = map_memory(kPiece);
    return data_;
  }

 private:
  std::byte* data_ = nullptr;
};
thread_local Staging staging;

[[noreturn]] void fail_on(const std::string& path, const char* doing, int error) {
  const std::string what = text::cat(path, ": the disk tier cannot ", doing, " it: ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) throw DiskFull(what + kSpaceNeeded);
  fail(ExitCode::input, what);
}

/// An open file of whole sectors.
class SectorFile {
 public:
  SectorFile(const std::string& path, int flags, bool direct_io)
      : path_(path), file_(::open(path.c_str(), flags | O_CLOEXEC | (direct_io ? O_DIRECT : 0), 0666)) {
    if (file_ < 0) fail_on(path_, "open", errno);
  }
  ~SectorFile() { ::close(file_); }
  SectorFile(const SectorFile&) = delete;

  int number() const { return file_; }
  const std::string& path() const { return path_; }

  /// Two ranges, one after the other, each of whole sectors.
  void write(Bytes offset, std::span<const std::byte> head, std::span<const std::byte> tail) {
    std::array<iovec, 2> parts{as_iovec(head), as_iovec(tail)};
    for (std::size_t first = 0; first < parts.size();) {
      if (parts[first].iov_len == 0) {
        ++first;
        continue;
      }
      const ssize_t wrote =
          ::pwritev(file_, &parts[first], static_cast<int>(parts.size() - first), static_cast<off_t>(offset));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) fail_on(path_, "write", errno);
      offset += static_cast<Bytes>(wrote);
      for (auto left = static_cast<Bytes>(wrote); auto& part : parts) {
        const Bytes done = std::min<Bytes>(left, part.iov_len);
        part = {static_cast<std::byte*>(part.iov_base) + done, part.iov_len - done};
        left -= done;
      }
    }
  }

  void read(Bytes offset, std::span<std::byte> into) {
    if (into.empty()) return;
    AsyncReads one(file_);
    one.begin(offset, into);
    expect(one.finish(), offset, into.size());
  }

  /// Requires that a read from `offset` gave so many bytes, not an error or the file's end.
  void expect(long got, Bytes offset, Bytes wanted) const {
    if (got < 0) fail_on(path_, "read", static_cast<int>(-got));
    if (static_cast<Bytes>(got) < wanted)
      fail(ExitCode::input, path_, ": the disk tier's file ends at byte ", offset + static_cast<Bytes>(got),
           ", before what was written to it");
  }

 private:
  static iovec as_iovec(std::span<const std::byte> bytes) {
    return {const_cast<std::byte*>(bytes.data()), bytes.size()};
  }

  const std::string path_;
  const int file_;
};

bool aligned(const std::byte* data) { return reinterpret_cast<std::uintptr_t>(data) % kSector == 0; }

Bytes whole_sectors(Bytes bytes) { return bytes / kSector * kSector; }

/// `bytes` in the thread's staging memory, filled up with zeros to whole sectors.
std::span<const std::byte> staged(std::span<const std::byte> bytes) {
  const Bytes padded = align_up(bytes.size(), kSector);
  std::memcpy(staging.data(), bytes.data(), bytes.size());
  std::memset(staging.data() + bytes.size(), 0, padded - bytes.size());
  return {staging.data(), padded};
}

StoredBlob write_blob(SectorFile& file, const BlobToWrite& blob, Bytes begin) {
  StoredBlob stored{blob.blob, begin, blob.bytes.size(), {}};
  const bool direct = aligned(blob.bytes.data());
  for (Bytes at = 0; at < blob.bytes.size(); at += kPiece) {
    const auto piece = blob.bytes.subspan(at, std::min(kPiece, blob.bytes.size() - at));
    stored.checksums.push_back(checksum_bytes(piece));
    const Bytes in_place = direct ? whole_sectors(piece.size()) : 0;
    file.write(begin + at, piece.first(in_place), staged(piece.subspan(in_place)));
  }
  return stored;
}

void check_piece(const SectorFile& file, const StoredBlob& stored, Bytes piece, std::span<const std::byte> bytes) {
  if (checksum_bytes(bytes) == stored.checksums[piece]) return;
  fail(ExitCode::input, file.path(), ": the disk gave back other bytes than were written, in blob ", stored.blob,
       " from byte ", piece * kPiece, " on: start again with --fresh, on another disk if it happens again");
}

/// Whole pieces, straight to where they belong; while one is checked, the next ones are on their way. Requires that
/// `out` is aligned and begins with piece `first`.
void read_pieces(SectorFile& file, const StoredBlob& stored, Bytes first, std::span<std::byte> out) {
  const Bytes begin = stored.begin + first * kPiece, sectors = whole_sectors(out.size());
  AsyncReads reads(file.number());
  Bytes asked = 0;
  for (Bytes at = 0; at < out.size(); at += kPiece) {
    for (; asked < sectors && reads.under_way() < AsyncReads::kInFlight; asked += kPiece)
      reads.begin(begin + asked, out.subspan(asked, std::min(kPiece, sectors - asked)));
    const auto piece = out.subspan(at, std::min(kPiece, out.size() - at));
    const Bytes in_place = whole_sectors(piece.size()), tail = piece.size() - in_place;
    if (in_place > 0) file.expect(reads.finish(), begin + at, in_place);
    if (tail > 0) {
      file.read(begin + at + in_place, {staging.data(), kSector});
      std::memcpy(piece.data() + in_place, staging.data(), tail);
    }
    check_piece(file, stored, first + at / kPiece, piece);
  }
}

}  // namespace

const StoredBlob* StoredVersion::find(std::uint32_t blob) const {
  const auto found = std::lower_bound(blobs.begin(), blobs.end(), blob,
                                      [](const StoredBlob& stored, std::uint32_t id) { return stored.blob < id; });
  return found != blobs.end() && found->blob == blob ? &*found : nullptr;
}

Bytes StoredVersion::file_bytes() const {
  Bytes bytes = 0;
  for (const auto& blob : blobs) bytes += align_up(blob.bytes, kSector);
  return bytes;
}

std::string StoredVersion::to_json() const {
  Json list = Json::array();
  for (const auto& stored : blobs)
    list.push_back(
        {{"blob", stored.blob}, {"begin", stored.begin}, {"bytes", stored.bytes}, {"checksums", stored.checksums}});
  return Json{{"blobs", list}}.dump();
}

StoredVersion StoredVersion::from_json(const std::string& text, const std::string& where) {
  const Json json = parse_json(text, where);
  StoredVersion version;
  Bytes end = 0;
  for (const Json& one : json_list(json, "blobs", where)) {
    StoredBlob stored{json_get<std::uint32_t>(one, "blob", where),
                      json_get<std::uint64_t>(one, "begin", where),
                      json_get<std::uint64_t>(one, "bytes", where),
                      {}};
    for (const Json& checksum : json_list(one, "checksums", where)) {
      if (!checksum.is_number_unsigned()) fail(ExitCode::input, where, ": a checksum is no whole number");
      stored.checksums.push_back(checksum.get<std::uint64_t>());
    }
    if (stored.begin != end || (stored.bytes + kPiece - 1) / kPiece != stored.checksums.size())
      fail(ExitCode::input, where, ": blob ", stored.blob, " does not follow what is before it");
    end = align_up(stored.begin + stored.bytes, kSector);
    version.blobs.push_back(std::move(stored));
  }
  return version;
}

Bytes version_file_bytes(std::span<const BlobToWrite> blobs) {
  Bytes bytes = 0;
  for (const auto& blob : blobs) bytes += align_up(blob.bytes.size(), kSector);
  return bytes;
}

StoredVersion write_version_file(const std::string& path, std::span<const BlobToWrite> blobs, bool direct_io) {
  SectorFile file(path, O_WRONLY | O_CREAT | O_EXCL, direct_io);
  StoredVersion version;
  Bytes begin = 0;
  for (const auto& blob : blobs) {
    version.blobs.push_back(write_blob(file, blob, begin));
    begin += align_up(blob.bytes.size(), kSector);
  }
  return version;
}

void read_version_file(const std::string& path, const StoredBlob& stored, Bytes offset, std::span<std::byte> out,
                       bool direct_io) {
  if (offset > stored.bytes || out.size() > stored.bytes - offset)
    fail(ExitCode::input, path, ": the disk tier has no byte ", std::max(offset, stored.bytes), " of blob ",
         stored.blob, ": start again with --fresh");
  if (out.empty()) return;
  SectorFile file(path, O_RDONLY, direct_io);
  while (!out.empty()) {
    const Bytes piece = offset / kPiece, skip = offset % kPiece;
    const Bytes rest = stored.bytes - offset;  // a blob's last piece is whole, too
    const Bytes whole = out.size() == rest ? rest : out.size() / kPiece * kPiece;
    if (skip == 0 && whole > 0 && aligned(out.data())) {
      read_pieces(file, stored, piece, out.first(whole));
      out = out.subspan(whole);
      offset += whole;
      continue;
    }
    const Bytes length = std::min(kPiece, stored.bytes - piece * kPiece);
    file.read(stored.begin + piece * kPiece, {staging.data(), align_up(length, kSector)});
    check_piece(file, stored, piece, {staging.data(), length});
    const Bytes size = std::min(length - skip, out.size());
    std::memcpy(out.data(), staging.data() + skip, size);
    out = out.subspan(size);
    offset += size;
  }
}

}  // namespace hopyard
