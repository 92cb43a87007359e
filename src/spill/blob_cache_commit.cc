// Commits: dirty blobs to durable versions, and what is dropped when.
#include <algorithm>
#include <set>
#include <utility>

#include "base/failure.h"
#include "spill/blob_cache_state.h"

namespace hopyard {

using State = BlobCache::State;

/// The groups of one commit, written by the committing thread and one of the pool: two files in flight.
struct State::GroupWrites {
  std::vector<Blobs> groups;
  std::size_t next = 0, done = 0;
  std::exception_ptr failed;  ///< the first failure; the groups after it are not written
};

std::vector<BlobVersion> State::commit(std::unique_lock<std::mutex>& lock, Bytes version_bytes) {
  drop_unneeded(lock);
  const auto writes = std::make_shared<GroupWrites>(GroupWrites{dirty_groups(version_bytes)});
  for (const auto& group : writes->groups)
    for (const auto blob : group) entries[blob].work = Work::writing;
  lock.unlock();
  if (writes->groups.size() > 1)
    pool.submit([self = shared_from_this(), writes] { self->write_groups(*writes); }, IoPool::Priority::urgent);
  write_groups(*writes);
  lock.lock();
  changed.wait(lock, [&] { return writes->done == writes->groups.size(); });
  if (writes->failed) std::rethrow_exception(writes->failed);
  make_spilled_durable(lock);
  return record_commit();
}

std::vector<State::Blobs> State::dirty_groups(Bytes version_bytes) const {
  std::vector<Blobs> groups;
  Bytes bytes = 0;
  for (std::uint32_t blob = 0; blob < entries.size(); ++blob) {
    const Entry& entry = entries[blob];
    if (!entry.spec.persistent || !entry.dirty) continue;
    if (groups.empty() || bytes + entry.spec.bytes > version_bytes) {
      groups.emplace_back();
      bytes = 0;
    }
    groups.back().push_back(blob);
    bytes += entry.spec.bytes;
  }
  return groups;
}

void State::write_groups(GroupWrites& writes) {
  std::unique_lock lock(mutex);
  while (writes.next < writes.groups.size()) {
    const Blobs& group = writes.groups[writes.next++];
    try {
      if (!writes.failed) write_group(lock, group);
    } catch (...) {
      if (!lock.owns_lock()) lock.lock();
      if (!writes.failed) writes.failed = std::current_exception();
    }
    for (const auto blob : group) entries[blob].work = Work::none;
    ++writes.done;
    changed.notify_all();
  }
}

void State::write_group(std::unique_lock<std::mutex>& lock, const Blobs& group) {
  std::vector<BlobToWrite> bytes;
  for (const auto blob : group) bytes.push_back({blob, entries[blob].buffer.span().first(entries[blob].spec.bytes)});
  lock.unlock();
  const Version version = disk.write(bytes, Durability::durable);
  lock.lock();
  for (const auto blob : group) set_version(entries[blob], version, /*durable=*/true);
}

void State::make_spilled_durable(std::unique_lock<std::mutex>& lock) {
  for (Entry& entry : entries) {
    if (!entry.spec.persistent || !entry.version || entry.durable) continue;
    const Version version = *entry.version;
    lock.unlock();
    try {
      disk.make_durable(version);  // its file is synced and taken in by another database: no byte is written again
    } catch (...) {
      lock.lock();
      throw;
    }
    lock.lock();
    entry.durable = true;  // a spilled version holds one blob
  }
}

std::vector<BlobVersion> State::record_commit() {
  std::vector<BlobVersion> state;
  for (std::uint32_t blob = 0; blob < entries.size(); ++blob) {
    Entry& entry = entries[blob];
    if (!entry.spec.persistent || !entry.version) continue;
    state.push_back({blob, *entry.version});
    if (entry.committed == entry.version) continue;
    if (entry.committed) superseded.push_back(*entry.committed);  // its reference goes along
    references.add(*entry.version);
    entry.committed = entry.version;
  }
  return state;
}

void State::close() {
  std::unique_lock lock(mutex);
  paused = true;
  wants.clear();
  prefetches.clear();
  changed.wait(lock, [this] { return jobs == 0; });
  for (Entry& entry : entries)
    if (entry.version) references.remove(*std::exchange(entry.version, std::nullopt));  // commits hold their own
  drop_unneeded(lock);
  for (Entry& entry : entries)
    if (entry.buffer) window.give_back(std::exchange(entry.buffer, HostBuffer()));
  window.close();
}

}  // namespace hopyard
