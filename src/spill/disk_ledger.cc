#include "spill/disk_ledger.h"

#include <algorithm>

#include "base/failure.h"

namespace hopyard {

void DiskLedger::reserve(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  if (used_ > capacity_ || bytes > capacity_ - used_)
    throw DiskFull(text::cat("the disk tier in ", folder_, " may take ", capacity_, " bytes (",
                             text::format_bytes(capacity_), "), of which ", used_, " are used, and ", bytes,
                             " more are needed: raise resources.disk.capacity and run the same command again"));
  used_ += bytes;
  peak_ = std::max(peak_, used_);
}

void DiskLedger::give_back(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  require(bytes <= used_, "the disk ledger gives back ", bytes, " bytes of ", used_);
  used_ -= bytes;
}

void DiskLedger::add(Version version, Entry entry) {
  const std::lock_guard lock(mutex_);
  require(entries_.emplace(version, std::move(entry)).second, "version ", version, " was written twice");
}

void DiskLedger::adopt(Version version, Entry entry) {
  reserve(entry.bytes);
  add(version, std::move(entry));
}

std::optional<DiskLedger::Entry> DiskLedger::find(Version version) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(version);
  if (found == entries_.end()) return std::nullopt;
  return found->second;
}

void DiskLedger::set_durable(Version version) {
  const std::lock_guard lock(mutex_);
  entries_.at(version).durability = Durability::durable;
}

std::optional<DiskLedger::Entry> DiskLedger::remove(Version version) {
  const std::lock_guard lock(mutex_);
  const auto node = entries_.extract(version);
  if (node.empty()) return std::nullopt;
  return node.mapped();
}

std::vector<Version> DiskLedger::versions() const {
  const std::lock_guard lock(mutex_);
  std::vector<Version> versions;
  for (const auto& [version, entry] : entries_) versions.push_back(version);
  return versions;
}

Bytes DiskLedger::used() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

Bytes DiskLedger::peak() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

}  // namespace hopyard
