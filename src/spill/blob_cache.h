// The state of one trial in host memory and on disk: blobs that come and go within a window of granted bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/journal.h"
#include "spill/disk_tier.h"
#include "spill/host_tier.h"
#include "spill/io_pool.h"

namespace hopyard {

/// A blob of a trial: the unit of eviction. Blobs of zero bytes are legal and always present.
struct BlobSpec {
  Bytes bytes = 0;
  bool persistent = true;  ///< false for gradients and what is derived: spilled when memory is short, never committed
};

/// To prefetch a blob that is needed in `distance` tasks, only what is needed in more than this many may be evicted:
/// what goes must be written and read again, and what has just been used, and is needed latest, is often about to be
/// free.
constexpr std::uint64_t prefetch_reach(std::uint64_t distance) { return distance == 0 ? 0 : 2 * distance - 1; }

/// Where the latest bytes of a blob are.
enum class BlobPlace { nowhere, host, disk, host_and_disk, moving };

/// Caches a trial's blobs. The window is reserved at admission; while it is large enough for the largest set that one
/// acquire() names, every acquire() succeeds in bounded time, whatever else happens: that is the no-deadlock argument.
/// Thread-safe. Eviction is by farthest next use, asked from `next_use`, LRU where it gives equal answers. A dirty blob
/// is written to disk before its memory is reused; disk work runs on the IoPool; `wake` is called from there, without
/// locks, whenever an acquire() that failed may now succeed. An error of disk work is rethrown, once, by the next
/// acquire(), prefetch() or commit(); release() always releases. At most two threads acquire at a time, plus
/// prefetches.
class BlobCache {
 public:
  /// `next_use(blob)`: how many tasks from now the blob is needed next; larger is evicted earlier. Called under the
  /// cache's lock; must not call back.
  using NextUse = std::function<std::uint64_t(std::uint32_t blob)>;

  BlobCache(DiskTier& disk, IoPool& pool, HostReservation window, std::vector<BlobSpec> blobs, NextUse next_use,
            std::function<void()> wake);
  /// Waits for its own disk work and for a wake() under way (so hold no lock that wake() takes); gives the window back
  /// and drops its spilled, uncommitted versions.
  ~BlobCache();

  /// Starts from committed versions (after a restart, or when a trial is admitted again).
  void restore(std::span<const BlobVersion> state);

  /// Pins all of `blobs` in memory, with their latest bytes (a blob that is nowhere is given memory, contents
  /// undefined). All or nothing: false when some are not there yet; reading and making room have then been started, and
  /// no prefetch takes that room again. Call again with the same blobs after a wake(). Requires that the blobs fit the
  /// window.
  bool acquire(std::span<const std::uint32_t> blobs);
  /// acquire() that waits; for set-up, commit and export, not for devices.
  void acquire_blocking(std::span<const std::uint32_t> blobs);
  /// Unpins; `dirty`: the bytes in memory are now newer than those on disk.
  void release(std::span<const std::uint32_t> blobs, bool dirty);
  /// Starts reading these, in order of use, as far as memory allows without evicting what is needed soon
  /// (prefetch_reach()); goes on by itself as memory falls free, until the next prefetch().
  void prefetch(std::span<const std::uint32_t> blobs);
  /// Valid while pinned.
  std::span<std::byte> bytes(std::uint32_t blob);

  /// Writes every dirty persistent blob durably (several blobs to one version, at most `version_bytes` each) and makes
  /// spilled versions that hold the latest bytes durable too, without writing their bytes again. Blocks; may be called
  /// from one thread, not of the IoPool, while no blob is pinned for writing. Returns where the latest bytes of all
  /// persistent blobs are, but for those of zero bytes and those never written. When it throws, nothing is lost: what
  /// was committed before still is, and what was dirty is in memory or in a version, so that it can be called again.
  /// Versions that this commit supersedes are kept until drop_superseded() (call it after the journal's COMMIT), on
  /// whose return the next commit, of whichever trial, has their room.
  std::vector<BlobVersion> commit(Bytes version_bytes = 256 * MiB);
  void drop_superseded();

  BlobPlace place(std::uint32_t blob) const;
  Bytes window() const;
  Bytes used() const;  ///< bytes of the window in use now

  struct State;  // in blob_cache_state.h

 private:
  std::shared_ptr<State> state_;  // shared with disk work that is under way
};

}  // namespace hopyard
