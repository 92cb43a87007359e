#include "spill/blob_cache.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "spill/blob_cache_state.h"

namespace hopyard {

namespace {

/// Nothing new starts while this lives, and what was under way is finished.
class Pause {
 public:
  Pause(BlobCache::State& state, std::unique_lock<std::mutex>& lock) : state_(state), lock_(lock) {
    require(!state_.paused, "two commits of one BlobCache at a time");
    state_.paused = true;
    state_.changed.wait(lock_, [this] { return state_.working == 0; });
  }
  ~Pause() {
    state_.paused = false;
    state_.advance();
    state_.wake_others();
  }
  Pause(const Pause&) = delete;

 private:
  BlobCache::State& state_;
  std::unique_lock<std::mutex>& lock_;
};

/// Sorted, without repetitions; requires that it fits the window.
BlobCache::State::Blobs set_of(std::span<const std::uint32_t> blobs, const BlobCache::State& state) {
  BlobCache::State::Blobs set(blobs.begin(), blobs.end());
  std::sort(set.begin(), set.end());
  set.erase(std::unique(set.begin(), set.end()), set.end());
  Bytes bytes = 0;
  for (const auto blob : set) {
    require(blob < state.entries.size(), "blob ", blob, " of ", state.entries.size());
    bytes += state.entries[blob].size();
  }
  require(bytes <= state.window.bytes(), "blobs of ", bytes, " bytes together never fit a window of ",
          state.window.bytes());
  return set;
}

}  // namespace

BlobCache::BlobCache(DiskTier& disk, IoPool& pool, HostReservation window, std::vector<BlobSpec> blobs,
                     NextUse next_use, std::function<void()> wake)
    : state_(std::make_shared<State>(disk, pool, std::move(window), std::move(blobs), std::move(next_use),
                                     std::move(wake))) {}

BlobCache::~BlobCache() { state_->close(); }

void BlobCache::restore(std::span<const BlobVersion> state) {
  const std::lock_guard lock(state_->mutex);
  for (const auto& [blob, version] : state) {
    require(blob < state_->entries.size(), "blob ", blob, " of ", state_->entries.size());
    auto& entry = state_->entries[blob];
    require(!entry.buffer && !entry.version && !entry.committed, "blob ", blob, " is restored, but it is not nowhere");
    state_->set_version(entry, version, /*durable=*/true);
    state_->references.add(version);
    entry.committed = version;
  }
}

bool BlobCache::acquire(std::span<const std::uint32_t> blobs) {
  const std::lock_guard lock(state_->mutex);
  const bool got = state_->acquire({blobs.begin(), blobs.end()}, set_of(blobs, *state_));
  state_->wake_others();
  return got;
}

void BlobCache::acquire_blocking(std::span<const std::uint32_t> blobs) {
  std::unique_lock lock(state_->mutex);
  const auto set = set_of(blobs, *state_);
  while (!state_->acquire({blobs.begin(), blobs.end()}, set)) {
    state_->wake_others();
    state_->changed.wait(lock, [&] { return state_->error || state_->ready(set) || !state_->wanted(set); });
  }
  state_->wake_others();
}

void BlobCache::release(std::span<const std::uint32_t> blobs, bool dirty) {
  const std::lock_guard lock(state_->mutex);
  for (const auto blob : blobs) {
    auto& entry = state_->entries.at(blob);
    require(entry.pins > 0, "blob ", blob, " is released, but it is not pinned");
    --entry.pins;
    if (dirty) state_->mark_dirty(entry);
  }
  state_->advance();
  state_->wake_others();
}

void BlobCache::prefetch(std::span<const std::uint32_t> blobs) {
  const std::lock_guard lock(state_->mutex);
  state_->rethrow();
  for (const auto blob : blobs) require(blob < state_->entries.size(), "blob ", blob, " of ", state_->entries.size());
  state_->prefetches.assign(blobs.begin(), blobs.end());
  state_->advance();
  state_->wake_others();
}

std::span<std::byte> BlobCache::bytes(std::uint32_t blob) {
  const std::lock_guard lock(state_->mutex);
  auto& entry = state_->entries.at(blob);
  require(entry.pins > 0, "the bytes of blob ", blob, " are asked for, but it is not pinned");
  return entry.buffer.span().first(entry.spec.bytes);
}

std::vector<BlobVersion> BlobCache::commit(Bytes version_bytes) {
  std::unique_lock lock(state_->mutex);
  state_->rethrow();
  const Pause pause(*state_, lock);
  state_->rethrow();
  return state_->commit(lock, version_bytes);
}

void BlobCache::drop_superseded() {
  std::unique_lock lock(state_->mutex);
  for (const Version version : std::exchange(state_->superseded, {})) state_->references.remove(version);
  state_->drop_unneeded(lock);
}

BlobPlace BlobCache::place(std::uint32_t blob) const {
  const std::lock_guard lock(state_->mutex);
  const auto& entry = state_->entries.at(blob);
  if (entry.spec.bytes == 0) return BlobPlace::host;
  if (entry.work != State::Work::none) return BlobPlace::moving;
  if (entry.buffer) return entry.version ? BlobPlace::host_and_disk : BlobPlace::host;
  return entry.version ? BlobPlace::disk : BlobPlace::nowhere;
}

Bytes BlobCache::window() const {
  const std::lock_guard lock(state_->mutex);
  return state_->window.bytes();
}

Bytes BlobCache::used() const {
  const std::lock_guard lock(state_->mutex);
  return state_->window.bytes() - state_->window.available();
}

}  // namespace hopyard
