// Features of one data set behind one layer: which segments are in host memory, which on disk, and what moves between.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "pipeline/features.h"
#include "spill/disk_tier.h"
#include "spill/io_pool.h"

namespace hopyard {

/// While it lives, a segment stays in host memory.
using FeatureHold = std::shared_ptr<const void>;

struct FeatureShelfParts {
  DiskTier& disk;
  IoPool& pool;
  std::function<void()> wake;  ///< told from a thread of the pool when poll() has something to see
};

/// Segments are computed into a slot, and on the disk tier written from there and read again, in pieces, whenever they
/// are needed and not in. What is on disk does not survive the process. One thread; disk work runs on the pool, which
/// outlives this; the destructor waits for it.
class FeatureShelf {
 public:
  /// `features`: segments in none of whose slots anything is, or (tier host) in all. `end_layer`: what they are behind.
  FeatureShelf(std::shared_ptr<Features> features, FeatureTier tier, std::uint32_t end_layer, FeatureShelfParts parts);
  ~FeatureShelf();

  enum class State { absent, on_disk, reading, computing, here };
  State state(std::uint32_t segment) const { return segments_[segment].state; }
  /// Requires that the segment is here.
  FeatureHold hold(std::uint32_t segment) const { return segments_.at(segment).held; }
  const std::shared_ptr<Features>& features() const { return features_; }

  /// Finds the segment a slot, if need be one of a segment that nobody holds and that is none of `needed`. False when
  /// there is none now.
  bool make_place(std::uint32_t segment, const std::set<std::uint32_t>& needed);
  /// Requires that it has a place and is on disk.
  void read(std::uint32_t segment);
  /// Requires that it has a place and is absent: from now on somebody computes it …
  void begin_computing(std::uint32_t segment);
  /// … and now it is there. On the disk tier it is written as well.
  void computed(std::uint32_t segment);
  /// Takes up what the disk has done. Throws what a disk failed at; a full disk is no failure: what does not fit there
  /// is computed again.
  void poll();
  /// Disk work is under way.
  bool busy() const { return in_flight_ > 0; }

 private:
  struct Segment {
    State state = State::absent;
    std::optional<Version> version;  ///< on disk
    bool writing = false;
    std::size_t pieces_left = 0;  ///< to be read
    FeatureHold held;             ///< while it is here
  };
  struct Done {
    std::uint32_t segment = 0;
    std::optional<Version> written;
    std::exception_ptr error;
  };

  void write(std::uint32_t segment);
  bool may_leave(std::uint32_t segment, const std::set<std::uint32_t>& needed) const;
  void submit(std::uint32_t segment, std::function<std::optional<Version>()> work);

  const std::shared_ptr<Features> features_;
  const FeatureTier tier_;
  const std::uint32_t end_layer_;
  const FeatureShelfParts parts_;
  std::vector<Segment> segments_;
  std::vector<std::optional<std::uint32_t>> slots_;  // which segment has it
  std::size_t in_flight_ = 0;                        // jobs that poll() has not seen
  std::mutex mutex_;                                 // guards all below
  std::condition_variable ended_;
  std::vector<Done> done_;
  std::size_t running_ = 0;
};

}  // namespace hopyard
