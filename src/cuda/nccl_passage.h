// Chunks on their way through NCCL: what the thread of the caller, and the one that asks NCCL, share.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "cuda/nccl_communicator.h"
#include "cuda/nccl_staging.h"
#include "transport/loose_thread.h"

namespace hopyard {

/// Staging and a communicator, for one thing at a time.
struct NcclLane {
  std::shared_ptr<NcclStaging> staging;
  std::unique_ptr<NcclCommunicator> communicator;
};

/// Chunks of one transfer, in order. The caller hands them over, at most kChunksInFlight of them beyond those done, and
/// alone touches memory that is not the lane's; a thread of its own asks NCCL for each, so that the caller waits by the
/// clock whatever becomes of that.
class NcclPassage {
 public:
  /// What is to be done for a chunk, until it is asked for on the card, and behind the last one. Throws what fails.
  /// They own all that they touch.
  struct Steps {
    std::function<void(std::size_t chunk)> ask;
    std::function<void()> end;  ///< may be empty
  };
  /// `lane` outlives it, since `steps` own it; `failed` says why the caller should wait no more, or nothing.
  NcclPassage(NcclLane& lane, double stall_s, std::function<std::string()> failed, Steps steps);
  /// The thread ends soon, which it must be able to: break off what it waits for first.
  ~NcclPassage();
  NcclPassage(const NcclPassage&) = delete;

  /// Chunk 0 first, then the next one, and so on.
  void hand_over();
  /// Returns when the chunk is done with. Throws std::runtime_error, also when that takes longer than `stall_s`.
  void await(std::size_t chunk);
  /// After the last chunk: returns when `end` has. Throws as await() does.
  void finish();

 private:
  struct Shared {
    std::mutex mutex;  // guards all below
    std::condition_variable changed;
    std::size_t handed = 0, asked = 0;  ///< chunks
    bool all = false, given_up = false, ended = false;
    std::string error;
  };
  static void work(const std::shared_ptr<Shared>& shared, const Steps& steps);
  template <class Condition>
  void wait(const Condition& holds);

  NcclLane& lane_;
  const double stall_s_;
  const std::function<std::string()> failed_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  LooseThread thread_;
};

}  // namespace hopyard
