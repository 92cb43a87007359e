// Yardsticks in closed form: what no schedule of visits can beat, and what schemes of training send over the network.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "hopper/open_shop.h"

namespace hopyard {

/// Seconds that any schedule of what the shop has left takes, hops not counted: the longest trial on the fastest homes;
/// the visits that only one worker can train; and, for workers that share partitions with nobody else, all their visits
/// over all their speed (Cerebro §4.1; with one home for each partition, max over trials' totals and workers' loads).
/// Counts dead workers as if they lived, so that it bounds a run with faults too.
double open_shop_bound_s(const OpenShop& shop);

/// A whole trial at a time on each of `workers` equal workers, longest first, as if each had all data.
double task_parallel_makespan_s(std::span<const double> trials_s, std::uint32_t workers);

/// A comparison of schemes (Cerebro §3, Table 3).
struct CommunicationCase {
  std::uint64_t epochs = 1;      ///< k
  std::uint64_t trials = 1;      ///< |S|
  std::uint64_t partitions = 1;  ///< p, one for each worker
  Bytes model_bytes = 0;         ///< m
  std::uint64_t batches = 0;     ///< |D| ÷ b
};
/// Bytes over the network. MOP: k·m·p·|S| + m·|S|. Synchronous data parallelism through a server:
/// 2·k·m·(p−1)·|S|·⌈|D|/(b·p)⌉. std::overflow_error beyond 64 bits.
Bytes hopper_bytes(const CommunicationCase& c);
Bytes data_parallel_bytes(const CommunicationCase& c);
/// Of one step of so many members, each with as many bytes of gradients: 2·(p−1)·m.
Bytes step_bytes(std::uint64_t members, Bytes gradient_bytes);

}  // namespace hopyard
