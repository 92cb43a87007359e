// The bytes of a trial's state on their way from one worker's disk tier to another's.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "hopper/state_book.h"
#include "spill/disk_tier.h"
#include "spill/host_tier.h"
#include "transport/transport.h"

namespace hopyard {

/// A version that a hop writes has at most so many bytes, or one blob.
constexpr Bytes kHopVersionBytes = 64 * MiB;
/// So long a receiver whose disk is full waits for room: older states may be about to go.
constexpr double kDiskRoomSeconds = 2;

/// How one end of a hop went.
struct StateTransfer {
  std::string error;            ///< empty when all is well
  bool link_broke = false;      ///< of the sender: the error is the link's, which the other end may have torn
  bool disk_full = false;       ///< of the receiver: there was no room for kDiskRoomSeconds
  std::string digest;           ///< of the bytes as they were here, in the order of the blobs
  std::vector<HeldBlob> blobs;  ///< of the receiver: where they are now, durable
};

/// What each end takes of the host tier.
Bytes sending_bytes(std::span<const HeldBlob> blobs);
Bytes receiving_bytes(std::span<const HeldBlob> blobs);

/// The receiver has its memory. Until it says so, a sender takes none, which somebody else may be waiting for. The
/// error, if there is one.
std::string say_ready(Link& link);
std::string await_ready(Link& link);

/// Both ends name the same blobs with the same bytes; the sender's have versions, which outlive the call. After the
/// bytes goes the sender's digest, which the receiver compares with its own. Blocks; what the link, the disk or a full
/// disk does is an error. `memory` has sending_bytes() or receiving_bytes().
StateTransfer send_state(Link& link, const DiskTier& disk, std::span<const HeldBlob> blobs, HostReservation memory);
/// Leaves nothing in the disk tier when it fails.
StateTransfer receive_state(Link& link, DiskTier& disk, std::span<const HeldBlob> blobs, HostReservation memory);

}  // namespace hopyard
