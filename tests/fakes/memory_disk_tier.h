// A disk tier in memory, with faults on demand.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/failure.h"
#include "spill/disk_ledger.h"
#include "spill/disk_tier.h"

namespace hopyard {

/// What survives a crash of the machine: durable versions and the incarnation.
struct MemoryDisk {
  std::map<Version, std::map<std::uint32_t, std::vector<std::byte>>> versions;
  std::uint64_t incarnation = 0;
};

/// Faults to be injected; may be set at any time, from any thread.
struct DiskFaults {
  std::atomic<int> writes_until_failure{-1};  ///< 0: the next write fails, once; -1: none does
  std::atomic<int> reads_until_failure{-1};
  std::atomic<double> delay_s{0};  ///< before each read and write
};

class MemoryDiskTier : public DiskTier {
 public:
  explicit MemoryDiskTier(Bytes capacity = GiB, std::shared_ptr<MemoryDisk> disk = std::make_shared<MemoryDisk>())
      : disk_(std::move(disk)), ledger_("memory", capacity), next_version_(++disk_->incarnation << 32) {
    for (const auto& [version, blobs] : disk_->versions) ledger_.adopt(version, {bytes_of(blobs), Durability::durable});
  }

  DiskFaults faults;

  Version write(std::span<const BlobToWrite> blobs, Durability durability) override {
    require(!blobs.empty(), "a version holds at least one blob, not 0");
    strike(faults.writes_until_failure, "write");
    std::map<std::uint32_t, std::vector<std::byte>> copy;
    for (const auto& blob : blobs) {
      require(copy.empty() || copy.rbegin()->first < blob.blob, "blob ", blob.blob, " is out of order");
      copy[blob.blob].assign(blob.bytes.begin(), blob.bytes.end());
    }
    const Bytes bytes = bytes_of(copy);
    ledger_.reserve(bytes);
    const std::lock_guard lock(mutex_);
    const Version version = next_version_++;
    ledger_.add(version, {bytes, durability});
    (durability == Durability::durable ? disk_->versions : spilled_)[version] = std::move(copy);
    counters_.written += bytes;
    return version;
  }

  void make_durable(Version version) override {
    strike(faults.writes_until_failure, "write");
    const std::lock_guard lock(mutex_);
    const auto entry = ledger_.find(version);
    require(entry.has_value(), "version ", version, " is unknown and cannot be made durable");
    if (entry->durability == Durability::durable) return;
    disk_->versions.insert(spilled_.extract(version));
    ledger_.set_durable(version);
  }

  void read(Version version, std::uint32_t blob, Bytes offset, std::span<std::byte> out) const override {
    strike(faults.reads_until_failure, "read");
    const std::lock_guard lock(mutex_);
    const auto entry = ledger_.find(version);
    if (!entry) fail(ExitCode::input, "no version ", version);
    if (out.empty()) return;
    const auto& blobs = entry->durability == Durability::durable ? disk_->versions.at(version) : spilled_.at(version);
    const auto found = blobs.find(blob);
    if (found == blobs.end() || offset + out.size() > found->second.size())
      fail(ExitCode::input, "version ", version, " has no byte ", offset + out.size(), " of blob ", blob);
    std::memcpy(out.data(), found->second.data() + offset, out.size());
    counters_.read += out.size();
  }

  void drop(Version version) override {
    const std::lock_guard lock(mutex_);
    const auto entry = ledger_.remove(version);
    if (!entry) return;
    disk_->versions.erase(version);
    spilled_.erase(version);
    ledger_.give_back(entry->bytes);
  }

  void keep_only(const std::set<Version>& kept) override {
    const auto there = versions();
    for (const Version version : kept)
      if (!std::binary_search(there.begin(), there.end(), version)) fail(ExitCode::input, "lost version ", version);
    for (const Version version : there)
      if (!kept.contains(version)) drop(version);
  }

  std::vector<Version> versions() const override { return ledger_.versions(); }
  Bytes capacity() const override { return ledger_.capacity(); }
  Bytes used() const override { return ledger_.used(); }
  Bytes peak() const override { return ledger_.peak(); }
  DiskCounters counters() const override {
    const std::lock_guard lock(mutex_);
    return counters_;
  }

 private:
  void strike(std::atomic<int>& until_failure, const char* what) const {
    if (const double delay_s = faults.delay_s; delay_s > 0) sleep_seconds(delay_s);
    int left = until_failure;
    while (left >= 0 && !until_failure.compare_exchange_weak(left, left - 1)) {
    }
    if (left == 0) fail(ExitCode::input, "injected failure of a ", what);
  }
  void strike(const std::atomic<int>& until_failure, const char* what) const {
    strike(const_cast<std::atomic<int>&>(until_failure), what);
  }
  static Bytes bytes_of(const std::map<std::uint32_t, std::vector<std::byte>>& blobs) {
    Bytes bytes = 0;
    for (const auto& [blob, content] : blobs) bytes += content.size();
    return bytes;
  }

  const std::shared_ptr<MemoryDisk> disk_;
  DiskLedger ledger_;
  mutable std::mutex mutex_;  // guards all below, and disk_->versions
  std::map<Version, std::map<std::uint32_t, std::vector<std::byte>>> spilled_;
  Version next_version_;
  mutable DiskCounters counters_;
};

}  // namespace hopyard
