// How fast bytes go between host memory and a card: what plans are made with, and what `hopyard doctor` shows.
#pragma once

#include "cuda/cuda_calls.h"

namespace hopyard {

/// bytes/s
struct LinkSpeed {
  double to_card = 0, to_host = 0;                ///< one way at a time
  double to_card_duplex = 0, to_host_duplex = 0;  ///< both ways at once, each
  bool pinned = true;                             ///< false: the system refused to pin memory, which is slower
  /// What either way carries while the other is busy as well.
  double each_way() const { return to_card_duplex < to_host_duplex ? to_card_duplex : to_host_duplex; }
};

/// Copies blocks of `bytes` a few times, timed by the card; takes twice as much memory of the card, and of the host,
/// for as long. Waits for the card. Throws CudaFailure and c10::OutOfMemoryError.
LinkSpeed measure_link(CudaCalls& calls, Bytes bytes);

}  // namespace hopyard
