#include "spill/blob_cache_state.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/failure.h"
#include "base/log.h"

namespace hopyard {

using State = BlobCache::State;

State::State(DiskTier& disk_tier, IoPool& io_pool, HostReservation reservation, std::vector<BlobSpec> specs,
             NextUse next, std::function<void()> wake_up)
    : disk(disk_tier),
      pool(io_pool),
      next_use_of(std::move(next)),
      wake(std::move(wake_up)),
      entries(specs.size()),
      window(std::move(reservation)),
      rank_(specs.size(), kNoWant) {
  for (std::size_t i = 0; i < specs.size(); ++i) entries[i].spec = specs[i];
}

void State::rethrow(const Blobs& wanted_by_caller) {
  if (!error) return;
  const std::exception_ptr raised = std::exchange(error, nullptr);
  std::erase_if(wants, [&](const Want& want) { return want.blobs == wanted_by_caller; });
  advance();  // for others who wait: they hear of no error
  std::rethrow_exception(raised);
}

void State::set_error(std::exception_ptr fresh) {
  if (!error) error = std::move(fresh);
}

bool State::ready(const Blobs& set) const {
  return std::all_of(set.begin(), set.end(), [this](auto blob) { return entries[blob].ready(); });
}

bool State::wanted(const Blobs& set) const {
  return std::any_of(wants.begin(), wants.end(), [&](const Want& want) { return want.blobs == set; });
}

bool State::acquire(const Blobs& blobs, const Blobs& set) {
  rethrow(set);
  if (take(blobs, set)) return true;
  if (!wanted(set)) insert_want(set);
  advance();
  rethrow(set);
  if (take(blobs, set)) return true;
  // Whoever was told that his set is complete and has not come for it must not stand in the way for ever.
  const auto mine = std::find_if(wants.begin(), wants.end(), [&](const Want& want) { return want.blobs == set; });
  const auto first = std::remove_if(wants.begin(), mine, [this](const Want& want) { return ready(want.blobs); });
  if (first == mine) return false;
  wants.erase(first, mine);
  advance();
  return take(blobs, set);
}

// The newest want goes first, as its predecessor may have been given up; but nobody is passed by for ever.
std::vector<State::Want>::iterator State::insert_want(Blobs set) {
  if (wants.size() == kWantsMax) {
    wants.pop_back();
    forgot_want = true;
  }
  auto place = wants.end();
  while (place != wants.begin() && std::prev(place)->bypassed < kBypassMax) --place;
  for (auto later = place; later != wants.end(); ++later) ++later->bypassed;
  return wants.insert(place, Want{std::move(set)});
}

bool State::take(const Blobs& blobs, const Blobs& set) {
  if (!ready(set)) return false;
  for (const auto blob : blobs) {
    ++entries[blob].pins;
    entries[blob].last_use = ++uses;
  }
  std::erase_if(wants, [&](const Want& want) { return want.blobs == set; });
  return true;
}

void State::mark_dirty(Entry& entry) {
  entry.dirty = entry.spec.bytes > 0;
  if (entry.version) references.remove(*entry.version);
  entry.version.reset();
  entry.durable = false;
}

void State::set_version(Entry& entry, Version version, bool durable) {
  if (entry.version) references.remove(*entry.version);
  references.add(version);
  entry.version = version;
  entry.durable = durable;
  entry.dirty = false;
}

void State::advance() {
  if (!error && !paused) {
    try {
      rank_wants();
      Bytes promised = 0;
      for (std::size_t i = 0; i < wants.size(); ++i) promised += serve(i, promised);
      serve_prefetches(promised);
    } catch (...) {
      set_error(std::current_exception());
    }
  }
  for (auto& want : wants) want.woken = want.woken && ready(want.blobs);  // news again, once it is complete again
  start_drops();
  changed.notify_all();
}

bool State::has_news() const {
  return forgot_want || error ||
         std::any_of(wants.begin(), wants.end(), [this](const Want& want) { return !want.woken && ready(want.blobs); });
}

void State::note_news() {
  forgot_want = false;
  for (auto& want : wants) want.woken = ready(want.blobs);
}

void State::wake_others() {
  if (has_news()) submit([](State&) {}, IoPool::Priority::urgent);
}

void State::rank_wants() {
  std::fill(rank_.begin(), rank_.end(), kNoWant);
  for (std::size_t i = wants.size(); i-- > 0;)
    for (const auto blob : wants[i].blobs) rank_[blob] = i;
}

/// Loads what fits beside the `promised` bytes of earlier wants, makes room for the rest, and returns how much that is.
Bytes State::serve(std::size_t want, Bytes promised) {
  while (true) {
    Bytes missing = 0;
    for (const auto blob : wants[want].blobs) {
      const Entry& entry = entries[blob];
      if (!entry.needs_buffer()) continue;
      if (promised + entry.size() <= window.available())
        load(blob, IoPool::Priority::urgent);
      else
        missing += entry.size();
    }
    if (missing == 0) return 0;
    if (!make_room(promised + missing, want, victims(want, std::nullopt), IoPool::Priority::urgent)) return missing;
  }
}

void State::serve_prefetches(Bytes promised) {
  for (const auto blob : prefetches) {
    if (!entries[blob].needs_buffer() || !entries[blob].version) continue;
    if (reading >= kPrefetchReadsMax || !prefetch_one(blob, promised)) return;
  }
}

bool State::prefetch_one(std::uint32_t blob, Bytes promised) {
  const Bytes target = promised + entries[blob].size();
  if (window.available() < target) {
    const auto order = victims(kNoWant - 1, prefetch_reach(next_use(blob)));
    Bytes possible = coming_free(kNoWant - 1);
    for (const auto& victim : order) possible += entries[victim.blob].size();
    if (possible < target) return false;
    make_room(target, kNoWant - 1, order, IoPool::Priority::normal);
    if (window.available() < target) return false;  // advance() comes here again when something has been written
  }
  load(blob, IoPool::Priority::normal);
  return true;
}

std::vector<State::Victim> State::victims(std::size_t rank, std::optional<std::uint64_t> after) const {
  std::vector<Victim> order;
  for (std::uint32_t blob = 0; blob < entries.size(); ++blob) {
    const Entry& entry = entries[blob];
    if (!entry.buffer || entry.pins > 0 || entry.work != Work::none || rank_[blob] <= rank) continue;
    const auto use = next_use(blob);
    if (!after || use > *after) order.push_back({use, entry.last_use, blob});
  }
  std::sort(order.begin(), order.end(), [](const Victim& a, const Victim& b) {
    return std::tie(b.next_use, a.last_use) < std::tie(a.next_use, b.last_use);
  });
  return order;
}

/// What is available or will be, once the evictions under way are done.
Bytes State::coming_free(std::size_t rank) const {
  Bytes bytes = window.available();
  for (std::uint32_t blob = 0; blob < entries.size(); ++blob)
    if (entries[blob].work == Work::writing && rank_[blob] > rank) bytes += entries[blob].size();
  return bytes;
}

/// Evicts in the order given until `target` bytes are free or coming. Returns whether something became free at once.
bool State::make_room(Bytes target, std::size_t rank, const std::vector<Victim>& order, IoPool::Priority priority) {
  bool freed = false;
  Bytes coming = coming_free(rank);
  for (const auto& victim : order) {
    if (coming >= target) break;
    Entry& entry = entries[victim.blob];
    coming += entry.size();
    if (entry.dirty) {
      start_write(victim.blob, priority);
    } else {
      drop_buffer(entry);
      freed = true;
    }
  }
  return freed;
}

void State::load(std::uint32_t blob, IoPool::Priority priority) {
  Entry& entry = entries[blob];
  entry.buffer = window.take(entry.spec.bytes);
  if (!entry.version) return;  // it was never written: contents undefined
  entry.work = Work::reading;
  ++working;
  ++reading;
  submit([blob](State& state) { state.run_read(blob); }, priority);
}

void State::drop_buffer(Entry& entry) { window.give_back(std::exchange(entry.buffer, HostBuffer())); }

void State::start_write(std::uint32_t blob, IoPool::Priority priority) {
  entries[blob].work = Work::writing;
  ++working;
  submit([blob](State& state) { state.run_write(blob); }, priority);
}

void State::submit(std::function<void(State&)> job, IoPool::Priority priority) {
  ++jobs;
  pool.submit(
      [self = shared_from_this(), job = std::move(job)] {
        job(*self);
        std::unique_lock lock(self->mutex);
        self->advance();
        const bool news = self->has_news();
        self->note_news();
        lock.unlock();
        if (news && self->wake) self->wake();
        lock.lock();
        --self->jobs;
        self->changed.notify_all();
      },
      priority);
}

void State::run_read(std::uint32_t blob) {
  std::unique_lock lock(mutex);
  Entry& entry = entries[blob];
  const Version version = *entry.version;
  const auto out = entry.buffer.span().first(entry.spec.bytes);
  lock.unlock();
  std::exception_ptr failed;
  try {
    disk.read(version, blob, 0, out);
  } catch (...) {
    failed = std::current_exception();
  }
  lock.lock();
  entry.work = Work::none;
  --working;
  --reading;
  if (!failed) return;
  drop_buffer(entry);
  set_error(failed);
}

void State::run_write(std::uint32_t blob) {
  std::unique_lock lock(mutex);
  Entry& entry = entries[blob];
  drop_unneeded(lock);
  const BlobToWrite bytes{blob, entry.buffer.span().first(entry.spec.bytes)};
  lock.unlock();
  std::optional<Version> version;
  std::exception_ptr failed;
  try {
    version = disk.write({&bytes, 1}, Durability::spilled);
  } catch (...) {
    failed = std::current_exception();
  }
  lock.lock();
  entry.work = Work::none;
  --working;
  if (failed) return set_error(failed);
  set_version(entry, *version, /*durable=*/false);
  rank_wants();
  if (rank_[blob] == kNoWant) drop_buffer(entry);  // else somebody came for it meanwhile
}

void State::drop_unneeded(std::unique_lock<std::mutex>& lock) {
  while (references.has_unneeded()) {
    const auto versions = references.take_unneeded();
    ++dropping;
    lock.unlock();
    for (const Version version : versions) {
      try {
        disk.drop(version);
      } catch (const std::exception& failure) {  // recovery drops it; what matters will fail again by itself
        HOPYARD_WARN << "version " << version << " could not be dropped: " << failure.what();
      }
    }
    lock.lock();
    --dropping;
    changed.notify_all();
  }
  changed.wait(lock, [this] { return dropping == 0; });  // their bytes are needed now
}

void State::start_drops() {
  if (!references.has_unneeded() || drops_queued || paused) return;
  drops_queued = true;
  submit(
      [](State& state) {
        std::unique_lock lock(state.mutex);
        state.drops_queued = false;
        state.drop_unneeded(lock);
      },
      IoPool::Priority::urgent);
}

}  // namespace hopyard
