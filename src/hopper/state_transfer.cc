#include "hopper/state_transfer.h"

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "formats/digest.h"

namespace hopyard {

namespace {

constexpr double kLookAgainSeconds = 0.02;  // for room on a full disk

/// Blobs [begin, end) of a state: what one transfer carries, and one version holds.
struct Group {
  std::size_t begin = 0, end = 0;
  Bytes bytes = 0;
};

/// The same at both ends.
std::vector<Group> groups_of(std::span<const HeldBlob> blobs) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    if (groups.empty() || groups.back().bytes + blobs[i].bytes > kHopVersionBytes) groups.push_back({i, i, 0});
    groups.back().end = i + 1;
    groups.back().bytes += blobs[i].bytes;
  }
  return groups;
}

Bytes largest_group(std::span<const HeldBlob> blobs) {
  Bytes largest = 0;
  for (const auto& group : groups_of(blobs)) largest = std::max(largest, group.bytes);
  return largest;
}

/// The chunks that a sender has in memory, and one more for what lies across pieces.
struct Ring {
  Bytes chunk = 0;
  std::size_t chunks = 0;
};
Ring ring_of(std::span<const HeldBlob> blobs) {
  const Bytes largest = largest_group(blobs);
  return {HostBuffer::rounded(std::min(kChunkBytes, largest)),
          std::min<std::size_t>(kChunksInFlight, (largest + kChunkBytes - 1) / kChunkBytes)};
}

Transfer transfer_of(std::size_t index, const Group& group) { return {static_cast<std::uint32_t>(index), group.bytes}; }

constexpr Transfer kReady{kMaxTransferTag, 1};

/// Behind the groups.
Transfer digest_transfer(std::size_t groups) { return {static_cast<std::uint32_t>(groups), 2 * sizeof(Digest)}; }

std::string send_digest(Link& link, std::size_t groups, const std::string& digest) {
  const auto bytes = std::as_bytes(std::span(digest));
  const ChunkSource source{[&](Bytes, Bytes) { return bytes; }, {}};
  return link.send(digest_transfer(groups), source).error;
}

/// An error too when the sender's is another.
std::string check_digest(Link& link, std::size_t groups, const std::string& digest) {
  std::string sent(digest.size(), ' ');
  const ChunkSink sink{[&](Bytes, Bytes) { return std::as_writable_bytes(std::span(sent)); },
                       [](Bytes, std::span<const std::byte>) { return true; }};
  const std::string error = link.receive(digest_transfer(groups), sink).error;
  if (!error.empty() || sent == digest) return error;
  return text::cat("the bytes have digest ", digest, " here, and had ", sent, " where they came from");
}

/// Reads a group's blobs as one. Chunks that lie across pieces of the disk tier, which checks whole ones, come from a
/// piece that is kept, so that none is read twice.
class GroupReader {
 public:
  GroupReader(const DiskTier& disk, std::span<const HeldBlob> blobs, std::span<std::byte> memory)
      : disk_(disk), blobs_(blobs), memory_(memory) {}

  /// Fills `out` with the bytes of the blobs, one after another, from `offset` on.
  void read(Bytes offset, std::span<std::byte> out) {
    for (const auto& blob : blobs_) {
      if (offset >= blob.bytes) {
        offset -= blob.bytes;
        continue;
      }
      while (offset < blob.bytes && !out.empty()) out = out.subspan(read_some(blob, offset, out));
      if (out.empty()) return;
      offset = 0;
    }
  }

 private:
  /// Up to the end of the piece; moves `offset` behind it.
  Bytes read_some(const HeldBlob& blob, Bytes& offset, std::span<std::byte> out) {
    const Bytes begin = offset / kChunkBytes * kChunkBytes, bytes = std::min(kChunkBytes, blob.bytes - begin);
    const Bytes skip = offset - begin, count = std::min<Bytes>(bytes - skip, out.size());
    if (count == bytes) {
      disk_.read(blob.version, blob.blob, begin, out.first(count));
    } else {
      if (piece_ != &blob || begin_ != begin) {
        piece_ = nullptr;
        disk_.read(blob.version, blob.blob, begin, memory_.first(bytes));
        piece_ = &blob;
        begin_ = begin;
      }
      std::memcpy(out.data(), memory_.data() + skip, count);
    }
    offset += count;
    return count;
  }

  const DiskTier& disk_;
  const std::span<const HeldBlob> blobs_;
  const std::span<std::byte> memory_;
  const HeldBlob* piece_ = nullptr;  ///< of which memory_ has a piece
  Bytes begin_ = 0;
};

/// The bytes of one group of blobs, as they lie in memory.
std::vector<BlobToWrite> pieces_of(std::span<const HeldBlob> blobs, std::span<const std::byte> bytes) {
  std::vector<BlobToWrite> pieces;
  for (const auto& blob : blobs) {
    pieces.push_back({blob.blob, bytes.first(blob.bytes)});
    bytes = bytes.subspan(blob.bytes);
  }
  return pieces;
}

/// Waits for room, unless nobody is there any more who would send the rest.
Version write_when_there_is_room(DiskTier& disk, std::span<const BlobToWrite> pieces, const Link& link) {
  for (const double until_s = monotonic_seconds() + kDiskRoomSeconds;; sleep_seconds(kLookAgainSeconds)) {
    try {
      return disk.write(pieces, Durability::durable);
    } catch (const DiskFull&) {
      if (link.broken() || monotonic_seconds() >= until_s) throw;
    }
  }
}

}  // namespace

std::string say_ready(Link& link) {
  const std::byte word{1};
  return link.send(kReady, {[&](Bytes, Bytes) { return std::span(&word, 1); }, {}}).error;
}

std::string await_ready(Link& link) {
  std::byte word{};
  return link
      .receive(kReady, {[&](Bytes, Bytes) { return std::span(&word, 1); },
                        [](Bytes, std::span<const std::byte>) { return true; }})
      .error;
}

Bytes sending_bytes(std::span<const HeldBlob> blobs) {
  const Ring ring = ring_of(blobs);
  return (ring.chunks + 1) * ring.chunk;
}

Bytes receiving_bytes(std::span<const HeldBlob> blobs) { return HostBuffer::rounded(largest_group(blobs)); }

StateTransfer send_state(Link& link, const DiskTier& disk, std::span<const HeldBlob> blobs, HostReservation memory) {
  const Ring sizes = ring_of(blobs);
  std::vector<HostBuffer> ring;
  for (std::size_t i = 0; i < sizes.chunks; ++i) ring.emplace_back(memory.split(sizes.chunk), sizes.chunk);
  HostBuffer piece(std::move(memory), sizes.chunk);
  RunningDigest digest;
  StateTransfer result;
  const auto groups = groups_of(blobs);
  for (std::size_t i = 0; i < groups.size() && result.error.empty(); ++i) {
    if (groups[i].bytes == 0) continue;
    const auto group = blobs.subspan(groups[i].begin, groups[i].end - groups[i].begin);
    GroupReader reader(disk, group, piece.span());
    std::string unread;
    const ChunkSource source{[&](Bytes offset, Bytes bytes) {
                               const auto chunk = ring[offset / kChunkBytes % ring.size()].span().first(bytes);
                               try {
                                 reader.read(offset, chunk);
                               } catch (const Failure& failure) {
                                 unread = failure.what();
                                 return std::span<const std::byte>();
                               }
                               digest.add(chunk);
                               return std::span<const std::byte>(chunk);
                             },
                             {}};
    result.error = link.send(transfer_of(i, groups[i]), source).error;
    result.link_broke = !result.error.empty() && unread.empty();
    if (!unread.empty()) result.error = unread;
  }
  result.digest = to_hex(digest.finish());
  if (!result.error.empty()) return result;
  result.error = send_digest(link, groups.size(), result.digest);
  result.link_broke = !result.error.empty();
  return result;
}

StateTransfer receive_state(Link& link, DiskTier& disk, std::span<const HeldBlob> blobs, HostReservation memory) {
  const Bytes largest = largest_group(blobs);
  HostBuffer buffer(std::move(memory), largest);
  RunningDigest digest;
  StateTransfer result;
  std::vector<Version> written;
  const auto groups = groups_of(blobs);
  try {
    for (std::size_t i = 0; i < groups.size() && result.error.empty(); ++i) {
      const ChunkSink sink{[&](Bytes offset, Bytes bytes) { return buffer.span().subspan(offset, bytes); },
                           [&](Bytes, std::span<const std::byte> bytes) {
                             digest.add(bytes);
                             return true;
                           }};
      if (groups[i].bytes > 0) result.error = link.receive(transfer_of(i, groups[i]), sink).error;
      if (!result.error.empty()) break;
      const auto group = blobs.subspan(groups[i].begin, groups[i].end - groups[i].begin);
      written.push_back(write_when_there_is_room(disk, pieces_of(group, buffer.span().first(groups[i].bytes)), link));
      for (const auto& blob : group) result.blobs.push_back({blob.blob, blob.bytes, written.back()});
    }
  } catch (const DiskFull& full) {
    result.error = full.what();
    result.disk_full = !link.broken();
  } catch (const Failure& failure) {
    result.error = failure.what();
  }
  result.digest = to_hex(digest.finish());
  if (result.error.empty()) result.error = check_digest(link, groups.size(), result.digest);
  if (!result.error.empty()) {
    for (const Version version : written) disk.drop(version);
    result.blobs.clear();
  }
  return result;
}

}  // namespace hopyard
