// Which versions the disk tier holds, and how many bytes they take and may take.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "spill/disk_tier.h"
#include "spill/version_file.h"

namespace hopyard {

/// Bytes are reserved before they are written, so that `used` never exceeds the capacity. Thread-safe.
class DiskLedger {
 public:
  struct Entry {
    Bytes bytes = 0;
    Durability durability = Durability::spilled;
    std::shared_ptr<const StoredVersion> stored = nullptr;  ///< null where no file is
  };

  /// `folder` is named in errors.
  DiskLedger(std::string folder, Bytes capacity) : folder_(std::move(folder)), capacity_(capacity) {}

  /// Throws DiskFull when `bytes` more would be too many.
  void reserve(Bytes bytes);
  void give_back(Bytes bytes);
  /// A version was written, whose bytes are reserved already.
  void add(Version version, Entry entry);
  /// Counts what was found on opening; throws DiskFull when it is more than the capacity.
  void adopt(Version version, Entry entry);
  std::optional<Entry> find(Version version) const;
  void set_durable(Version version);
  /// The version is no longer listed, but its bytes are taken until give_back(). Nothing when it is unknown.
  std::optional<Entry> remove(Version version);
  std::vector<Version> versions() const;
  Bytes capacity() const { return capacity_; }
  Bytes used() const;
  Bytes peak() const;

 private:
  const std::string folder_;
  const Bytes capacity_;
  mutable std::mutex mutex_;  // guards all below
  std::map<Version, Entry> entries_;
  Bytes used_ = 0, peak_ = 0;
};

}  // namespace hopyard
