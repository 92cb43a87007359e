// One communicator of NCCL, each wait for which has a bound.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "cuda/nccl_calls.h"

namespace hopyard {

/// Any thread; one at a time in connect() and ask(). A call of NCCL that hangs in spite of its promise holds up whoever
/// made it, and nobody else.
class NcclCommunicator {
 public:
  /// Begins to meet the others. Throws NcclFailure.
  NcclCommunicator(std::shared_ptr<NcclCalls> nccl, const NcclId& id, int members, int member);
  ~NcclCommunicator() { abort(); }
  NcclCommunicator(const NcclCommunicator&) = delete;

  /// Returns when all have met. Throws NcclFailure, also after `seconds`, and when it is aborted meanwhile.
  void connect(double seconds) { settle(seconds, "the members have not met"); }
  /// Asks for one operation, and returns when it is on its stream. Throws as connect() does.
  void ask(const std::function<void(NcclCalls&, CommHandle)>& operation, double seconds);
  /// Throws NcclFailure when something went wrong with what runs.
  void check();
  /// Ends what runs, soon. Takes a second at most, or two.
  void abort() noexcept;

 private:
  void settle(double seconds, const char* otherwise);
  bool settled();

  const std::shared_ptr<NcclCalls> nccl_;
  std::mutex mutex_;  // guards comm_, and is held in each of NCCL's calls
  CommHandle comm_;   ///< null once it was aborted
};

}  // namespace hopyard
