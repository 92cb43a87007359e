// Which versions a trial still needs.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "spill/disk_tier.h"

namespace hopyard {

/// Counts who needs a version; those that nobody needs any more wait to be dropped from the disk tier. Not thread-safe.
class VersionReferences {
 public:
  void add(Version version) { ++count_[version]; }
  void remove(Version version) {
    const auto found = count_.find(version);
    if (--found->second > 0) return;
    count_.erase(found);
    unneeded_.push_back(version);
  }
  bool has_unneeded() const { return !unneeded_.empty(); }
  std::vector<Version> take_unneeded() { return std::exchange(unneeded_, {}); }

 private:
  std::map<Version, int> count_;
  std::vector<Version> unneeded_;
};

}  // namespace hopyard
