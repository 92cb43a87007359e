#include "planner/spill_forecast.h"

#include <algorithm>
#include <optional>

#include "spill/blob_cache.h"

namespace hopyard {

namespace {

constexpr std::uint64_t kSettlingRounds = 4, kRounds = 12;  // a hole in the window may need several to come round

/// Tasks are counted on and on: task t is tasks[t % tasks.size()].
class WindowReplay {
 public:
  WindowReplay(const std::vector<BlobUse>& tasks, const std::vector<Bytes>& bytes, Bytes window,
               std::uint32_t prefetch_tasks)
      : tasks_(tasks), prefetch_tasks_(prefetch_tasks), free_(window), uses_(bytes.size()), blobs_(bytes.size()) {
    for (std::size_t blob = 0; blob < bytes.size(); ++blob) blobs_[blob].bytes = bytes[blob];
    for (std::uint64_t t = 0; t < tasks.size(); ++t)
      for (const auto blob : tasks[t].needed) uses_[blob].push_back(t);
  }

  /// ModelTask `now` computes.
  void run(std::uint64_t now) {
    now_ = now;
    if (pinned_end_ == now) {  // there was no room for it beside the task before
      if (now > 0) release(now - 1);
      take(now);
    }
    if (take(now + 1)) prefetch();
    if (now > 0) release(now - 1);
    take(now + 1);
    prefetch();
  }

  Bytes written() const { return written_; }

 private:
  struct Blob {
    Bytes bytes = 0;
    bool present = false, dirty = false, stored = false;  ///< stored: a version on disk holds the latest bytes
    int pins = 0;
  };

  const BlobUse& task(std::uint64_t t) const { return tasks_[t % tasks_.size()]; }

  /// Tasks from now until the blob is needed.
  std::uint64_t distance(std::uint32_t blob) const {
    const auto& uses = uses_[blob];
    const std::uint64_t round = tasks_.size(), place = now_ % round;
    const auto next = std::lower_bound(uses.begin(), uses.end(), place);
    return next != uses.end() ? *next - place : uses.front() + round - place;
  }

  /// Pins the blobs of task t unless it has been done. False when those before it leave no room; some may be there
  /// then.
  bool take(std::uint64_t t) {
    if (t < pinned_end_) return true;
    const auto& needed = task(t).needed;
    for (const auto blob : needed) {
      if (blobs_[blob].present) continue;
      if (!evict_until(blobs_[blob].bytes, needed, std::nullopt)) return false;
      load(blob);
    }
    for (const auto blob : needed) ++blobs_[blob].pins;
    pinned_end_ = t + 1;
    return true;
  }

  void release(std::uint64_t t) {
    if (t < pinned_begin_) return;
    pinned_begin_ = t + 1;
    for (const auto blob : task(t).needed) --blobs_[blob].pins;
    for (const auto blob : task(t).changed) {
      blobs_[blob].dirty = true;
      blobs_[blob].stored = false;
    }
  }

  void prefetch() {
    for (std::uint64_t t = now_ + 1; t <= now_ + 1 + prefetch_tasks_; ++t)
      for (const auto blob : task(t).needed) {
        if (blobs_[blob].present || !blobs_[blob].stored) continue;
        if (!evict_until(blobs_[blob].bytes, {}, prefetch_reach(distance(blob)))) return;
        load(blob);
      }
  }

  /// Evicts nothing unless it is enough for `wanted` bytes.
  bool evict_until(Bytes wanted, const std::vector<std::uint32_t>& kept, std::optional<std::uint64_t> beyond) {
    if (free_ >= wanted) return true;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> victims;
    Bytes possible = free_;
    for (std::uint32_t blob = 0; blob < blobs_.size(); ++blob) {
      const Blob& held = blobs_[blob];
      if (!held.present || held.pins > 0 || held.bytes == 0) continue;
      if (std::binary_search(kept.begin(), kept.end(), blob) || (beyond && distance(blob) <= *beyond)) continue;
      victims.emplace_back(distance(blob), blob);
      possible += held.bytes;
    }
    if (possible < wanted) return false;
    std::sort(victims.rbegin(), victims.rend());
    for (auto victim = victims.begin(); free_ < wanted; ++victim) evict(blobs_[victim->second]);
    return true;
  }

  void load(std::uint32_t blob) {
    blobs_[blob].present = true;
    free_ -= blobs_[blob].bytes;
  }

  void evict(Blob& blob) {
    if (blob.dirty) written_ += blob.bytes;
    blob.stored |= blob.dirty;
    blob.present = blob.dirty = false;
    free_ += blob.bytes;
  }

  const std::vector<BlobUse>& tasks_;
  const std::uint32_t prefetch_tasks_;
  Bytes free_, written_ = 0;
  std::vector<std::vector<std::uint64_t>> uses_;  // of each blob: the tasks of a round that need it
  std::vector<Blob> blobs_;
  std::uint64_t now_ = 0, pinned_begin_ = 0, pinned_end_ = 0;  // tasks [begin, end) hold pins
};

}  // namespace

Bytes spilled_per_round(const std::vector<BlobUse>& tasks, const std::vector<Bytes>& bytes, Bytes window,
                        std::uint32_t prefetch_tasks) {
  WindowReplay replay(tasks, bytes, window, prefetch_tasks);
  Bytes before = 0;
  for (std::uint64_t t = 0; t < (kSettlingRounds + kRounds) * tasks.size(); ++t) {
    if (t == kSettlingRounds * tasks.size()) before = replay.written();
    replay.run(t);
  }
  return (replay.written() - before) / kRounds;
}

}  // namespace hopyard
