// Where trials over data that were cut begin their order of visits: given out as they are asked for, and recorded.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/journal.h"
#include "hopper/visit_order.h"

namespace hopyard {

/// By trial id.
using RotationRecord = std::map<std::string, std::uint32_t>;

/// One thread.
class TrialRotations {
 public:
  /// `known`: of an earlier process of this run, or of the run that this one repeats.
  TrialRotations(std::uint64_t order_seed, std::uint32_t partitions, RotationRecord known)
      : rotations_(order_seed, partitions), record_(std::move(known)) {}

  struct Trial {
    std::string id;
    double work = 1;  ///< of a visit: a whole number, so that sums are the same in any order
  };
  /// For trials that are asked for at a time; those that have theirs keep it. Whether any was new, and is to be
  /// recorded.
  bool give(const std::vector<Trial>& trials);
  std::uint32_t of(const std::string& trial) const { return record_.at(trial); }
  const RotationRecord& record() const { return record_; }

 private:
  Rotations rotations_;
  RotationRecord record_;
  std::set<std::string> counted_;  // whose work is in rotations_
};

/// Empty where there are none. `where` names the journal.
RotationRecord recorded_rotations(const Journal& journal, const std::string& where);
/// All at once: trials that are asked for together get theirs together, or none does.
void keep_rotations(Journal& journal, const RotationRecord& record);

}  // namespace hopyard
