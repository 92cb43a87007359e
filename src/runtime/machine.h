// What machine this is: for reports, benchmarks and `hopyard doctor`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/record.h"
#include "spill/disk_tier.h"

namespace hopyard {

struct MachineFacts {
  std::string cpu, libtorch, cpu_capability;
  unsigned cores = 0;
  Bytes memory = 0, memory_available = 0;
  int gpus = 0;  ///< that the driver lists; asks none of them
};
MachineFacts machine_facts();
/// One statement each: "2 cores, AMD EPYC".
std::vector<std::string> describe(const MachineFacts& facts);

struct DiskSpeed {
  double read_bytes_per_s = 0, write_bytes_per_s = 0;
};
/// What planning goes on with where nothing could be measured.
inline constexpr DiskSpeed kAssumedDiskSpeed{1e9, 1e9};
/// Writes a version durably, reads it back and drops it. Takes a fraction of a second. Nothing when there is no room.
std::optional<DiskSpeed> measure_disk(DiskTier& disk);
/// The same in a folder below `parent` that is gone afterwards. Failure when `parent` cannot be written.
std::optional<DiskSpeed> probe_disk(const std::string& parent);

/// Whoever runs this process, now.
Signature signature_of_user();

/// Resident bytes of this process now.
Bytes process_bytes();

}  // namespace hopyard
