// NCCL between fake cards of one process, with faults to order.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "cuda/nccl_calls.h"
#include "fakes/fake_cuda.h"

namespace hopyard::fakes {

/// What goes wrong on one card. Any may be set while others use it.
struct NcclFaults {
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
  std::atomic<bool> no_ids = false;
  std::atomic<bool> never_connects = false;  ///< the others wait for this one
  /// After so many operations: what is asked for then runs on the card and never ends until it is aborted; or
  /// settled() throws from then on; or neither begins nor ends; or the call does not return while it is set.
  std::atomic<std::uint64_t> hangs_after = kNever, fails_after = kNever, never_begins_after = kNever,
                             blocks_after = kNever;
};

/// Where cards meet; outlives them.
class NcclNetwork {
 public:
  NcclNetwork();
  ~NcclNetwork();
  struct Meetings;

 private:
  friend class FakeNccl;
  const std::shared_ptr<Meetings> meetings_;
};

/// Of one card. Operations are kernels of its streams. A send waits until the receiver's card has come to its receive,
/// as a large one does; whose peer aborts, or never comes, waits for ever. What is asked for gets to its stream only
/// after settled() was asked a few times.
class FakeNccl final : public NcclCalls {
 public:
  FakeNccl(NcclNetwork& network, std::shared_ptr<FakeCuda> cuda);
  ~FakeNccl() override;
  NcclId make_id() override;
  CommHandle begin(const NcclId& id, int members, int member) override;
  bool settled(CommHandle comm) override;
  void together(const std::function<void()>& ask) override;
  void send(CommHandle comm, const void* values, Bytes bytes, int to, StreamHandle stream) override;
  void receive(CommHandle comm, void* values, Bytes bytes, int from, StreamHandle stream) override;
  void all_reduce(CommHandle comm, void* values, std::size_t count, NcclValues type, StreamHandle stream) override;
  void abort(CommHandle comm) noexcept override;

  NcclFaults faults;
  std::uint64_t operations() const;  ///< asked for
  std::uint64_t open() const;        ///< communicators not aborted
  /// What NCCL forbids; empty: nothing.
  std::string misuse() const;

 private:
  struct Core;
  const std::shared_ptr<Core> core_;
};

}  // namespace hopyard::fakes
