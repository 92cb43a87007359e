// What is behind a BlobCache: decisions under one lock, disk work outside of it.
#pragma once

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "spill/blob_cache.h"
#include "spill/buffer_window.h"
#include "spill/version_references.h"

namespace hopyard {

/// States of a blob, by (buffer, work, dirty, version):
///   nowhere: none of them; host: a buffer, dirty or never written; disk: a version alone; host_and_disk: a buffer and
///   a version, clean; reading: a buffer that fills from its version; writing: a buffer that goes to a new version.
/// disk → reading → host_and_disk → host (released dirty) → writing → disk (evicted) or host_and_disk (committed, or
/// wanted meanwhile); clean buffers are dropped at once.
struct BlobCache::State : std::enable_shared_from_this<BlobCache::State> {
  using Blobs = std::vector<std::uint32_t>;
  enum class Work { none, reading, writing };

  struct Entry {
    BlobSpec spec;
    HostBuffer buffer;
    Work work = Work::none;
    int pins = 0;
    bool dirty = false;                ///< the buffer holds bytes that no version holds
    std::optional<Version> version;    ///< holds the latest bytes; none while dirty
    bool durable = false;              ///< of `version`
    std::optional<Version> committed;  ///< what the last commit() or restore() named
    std::uint64_t last_use = 0;

    Bytes size() const { return HostBuffer::rounded(spec.bytes); }
    bool needs_buffer() const { return spec.bytes > 0 && !buffer; }
    bool ready() const { return spec.bytes == 0 || (buffer && work == Work::none); }
  };

  /// A set that an acquire() did not get. Wants are served in the order of the list.
  struct Want {
    Blobs blobs;  ///< sorted, without repetitions
    int bypassed = 0;
    bool woken = false;
  };
  static constexpr int kBypassMax = 2;         ///< as often may a newer want be put before an older one
  static constexpr std::size_t kWantsMax = 8;  ///< more are forgotten, and woken so that they ask again
  static constexpr int kPrefetchReadsMax = 4;  ///< so that a want never queues behind many prefetches

  State(DiskTier& disk_tier, IoPool& io_pool, HostReservation reservation, std::vector<BlobSpec> specs, NextUse next,
        std::function<void()> wake_up);

  // All of these require the lock.
  void rethrow(const Blobs& wanted_by_caller = {});
  bool acquire(const Blobs& blobs, const Blobs& set);
  bool ready(const Blobs& set) const;
  bool wanted(const Blobs& set) const;
  void mark_dirty(Entry& entry);
  void set_version(Entry& entry, Version version, bool durable);
  /// Moves everything on that can be moved: called after every change.
  void advance();
  /// From a caller's thread, after advance(): has those woken on the pool who may now succeed.
  void wake_others();
  void set_error(std::exception_ptr error);
  /// Drops what nobody needs, and waits until no other thread is dropping; unlocks meanwhile.
  void drop_unneeded(std::unique_lock<std::mutex>& lock);
  void start_drops();
  void submit(std::function<void(State&)> job, IoPool::Priority priority);
  std::uint64_t next_use(std::uint32_t blob) const { return next_use_of ? next_use_of(blob) : 0; }

  // commit() and its parts, in blob_cache_commit.cc.
  struct GroupWrites;
  std::vector<BlobVersion> commit(std::unique_lock<std::mutex>& lock, Bytes version_bytes);
  std::vector<Blobs> dirty_groups(Bytes version_bytes) const;
  void write_groups(GroupWrites& writes);
  void write_group(std::unique_lock<std::mutex>& lock, const Blobs& group);
  void make_spilled_durable(std::unique_lock<std::mutex>& lock);
  std::vector<BlobVersion> record_commit();
  /// Gives all memory back; drops the versions that no commit names. The last thing that happens.
  void close();

  DiskTier& disk;
  IoPool& pool;
  const NextUse next_use_of;
  const std::function<void()> wake;

  mutable std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::vector<Entry> entries;
  BufferWindow window;
  std::vector<Want> wants;
  Blobs prefetches;
  VersionReferences references;
  std::vector<Version> superseded;  ///< each holds a reference until drop_superseded()
  std::exception_ptr error;         ///< of disk work; nothing new starts until a call has rethrown it
  bool paused = false;              ///< a commit or the destructor: nothing new starts
  int working = 0;                  ///< entries with work
  int reading = 0;                  ///< of these, being read
  int jobs = 0;                     ///< submitted to the pool and not finished
  int dropping = 0;                 ///< threads that drop versions
  bool drops_queued = false;        ///< a job that will drop versions is in the pool
  bool forgot_want = false;         ///< its owner has to be woken
  std::uint64_t uses = 0;           ///< the clock of last_use

 private:
  struct Victim {
    std::uint64_t next_use, last_use;
    std::uint32_t blob;
  };
  std::vector<Want>::iterator insert_want(Blobs set);
  bool take(const Blobs& blobs, const Blobs& set);
  void rank_wants();
  Bytes serve(std::size_t want, Bytes promised);
  void serve_prefetches(Bytes promised);
  bool prefetch_one(std::uint32_t blob, Bytes promised);
  /// Blobs that may be evicted, farthest next use first: those of wants after `rank`, used later than `after`.
  std::vector<Victim> victims(std::size_t rank, std::optional<std::uint64_t> after) const;
  Bytes coming_free(std::size_t rank) const;
  bool make_room(Bytes target, std::size_t rank, const std::vector<Victim>& order, IoPool::Priority priority);
  void load(std::uint32_t blob, IoPool::Priority priority);
  void drop_buffer(Entry& entry);
  bool has_news() const;
  void note_news();
  void start_write(std::uint32_t blob, IoPool::Priority priority);
  void run_read(std::uint32_t blob);
  void run_write(std::uint32_t blob);

  std::vector<std::size_t> rank_;  ///< of each blob: the first want that names it, or kNoWant
  static constexpr std::size_t kNoWant = ~std::size_t{0};
};

}  // namespace hopyard
