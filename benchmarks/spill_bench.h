// The disk tier beside the disk itself.
#pragma once

#include <string>

#include "base/bytes.h"

namespace hopyard {

/// Seconds for the same work. The ratio of bandwidths is raw ÷ rocks.
struct SpillBandwidth {
  double rocks_write_s = 0, raw_write_s = 0;  ///< until durable
  double rocks_read_s = 0, raw_read_s = 0;
};

/// Writes `files` versions of one blob of `file_bytes` each through the RocksDB tier, and as many raw files with
/// O_DIRECT, `in_flight` at a time, then reads all of them back: RocksDB and raw take turns file round by file round.
/// Everything lies in `folder`, which must exist, and is removed again. Requires file_bytes to be a multiple of 4 MiB.
SpillBandwidth measure_spill_bandwidth(const std::string& folder, Bytes file_bytes, int files, int in_flight);

}  // namespace hopyard
