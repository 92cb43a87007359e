// The few calls of NCCL that links and groups between workers' cards take. What is written over them runs over a fake
// as well.
#pragma once

#include <array>
#include <functional>
#include <stdexcept>

#include "cuda/cuda_calls.h"

namespace hopyard {

/// ncclComm_t. Null is none.
using CommHandle = struct NcclComm*;

/// Names a communicator that is to be made: one member makes it, and all get it by other ways.
struct NcclId {
  std::array<char, 128> bytes{};
};

enum class NcclValues : std::uint8_t { bytes, float32, float64 };

/// What NCCL says went wrong. It ends a communicator, and no run.
class NcclFailure : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// NCCL on one card. Of one communicator one call at a time; of several, any. No call waits for the card or for other
/// members. What begin() and together() ask for is under way until settled() says otherwise, and until then nothing
/// but settled() and abort() may be asked of that communicator; what is recorded on a stream before that does not
/// cover it. What fails throws NcclFailure.
class NcclCalls {
 public:
  virtual ~NcclCalls() = default;
  virtual NcclId make_id() = 0;
  /// Begins to meet the other members, each of whom calls it with a `member` of its own.
  virtual CommHandle begin(const NcclId& id, int members, int member) = 0;
  /// Whether what was asked for last is done: members are connected, operations are on their streams. Throws what went
  /// wrong meanwhile, also with operations that run already.
  virtual bool settled(CommHandle comm) = 0;
  /// The operations that `ask` asks for as one: they depend on each other in no way.
  virtual void together(const std::function<void()>& ask) = 0;

  /// Only within together(). `values` on the card, to stay until the stream has come past them.
  virtual void send(CommHandle comm, const void* values, Bytes bytes, int to, StreamHandle stream) = 0;
  virtual void receive(CommHandle comm, void* values, Bytes bytes, int from, StreamHandle stream) = 0;
  /// In place: the sums over all members.
  virtual void all_reduce(CommHandle comm, void* values, std::size_t count, NcclValues type, StreamHandle stream) = 0;

  /// Ends it, and soon what of it still runs on the card. The handle is none any more.
  virtual void abort(CommHandle comm) noexcept = 0;
};

}  // namespace hopyard
