// Versions in the disk tier that several trials need.
#pragma once

#include <map>
#include <mutex>
#include <span>

#include "base/journal.h"
#include "spill/disk_tier.h"

namespace hopyard {

/// A disk tier whose versions may be held more than once: a warm clone begins at its parent's versions, and each of the
/// two drops them when it has newer ones. All else goes to the tier below, which outlives this one. Thread-safe.
class SharedVersions final : public DiskTier {
 public:
  explicit SharedVersions(DiskTier& disk) : disk_(disk) {}

  /// The versions named here survive one more drop each.
  void share(std::span<const BlobVersion> state);
  void drop(Version version) override;

  Version write(std::span<const BlobToWrite> blobs, Durability durability) override {
    return disk_.write(blobs, durability);
  }
  void make_durable(Version version) override { disk_.make_durable(version); }
  void read(Version version, std::uint32_t blob, Bytes offset, std::span<std::byte> out) const override {
    disk_.read(version, blob, offset, out);
  }
  void keep_only(const std::set<Version>& versions) override { disk_.keep_only(versions); }
  std::vector<Version> versions() const override { return disk_.versions(); }
  Bytes capacity() const override { return disk_.capacity(); }
  Bytes used() const override { return disk_.used(); }
  Bytes peak() const override { return disk_.peak(); }
  DiskCounters counters() const override { return disk_.counters(); }

 private:
  DiskTier& disk_;
  std::mutex mutex_;                         // guards all below
  std::map<Version, std::uint32_t> spared_;  // how many drops a version survives
};

}  // namespace hopyard
