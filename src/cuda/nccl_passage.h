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
  /// What the thread that asks sees.
  class Asker {
   public:
    enum class Next {
      chunk,     ///< there is one to ask for
      all,       ///< no more come
      nothing,   ///< `seconds` have passed
      given_up,  ///< return
    };
    Next next(double seconds);
    /// The chunk that next() spoke of is on the card's streams.
    void asked();

   private:
    friend class NcclPassage;
    std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    std::size_t handed_ = 0, asked_ = 0;  ///< chunks
    bool all_ = false, given_up_ = false, ended_ = false;
    std::string error_;
  };
  /// `work` runs on the thread, owns all that it touches, and throws what fails. `failed` says why the caller should
  /// wait no more, or nothing. `lane` outlives it, since `work` owns it.
  NcclPassage(NcclLane& lane, double stall_s, std::function<std::string()> failed,
              std::function<void(Asker& asker)> work);
  /// The thread ends soon, which it must be able to: break off what it waits for first.
  ~NcclPassage();
  NcclPassage(const NcclPassage&) = delete;

  /// Chunk 0 first, then the next one, and so on.
  void hand_over();
  /// Returns when the chunk is done with. Throws std::runtime_error, also when that takes longer than `stall_s`.
  void await(std::size_t chunk);
  /// After the last chunk was: returns when `work` has. Throws as await() does.
  void finish();

 private:
  template <class Condition>
  void wait(const Condition& holds);

  NcclLane& lane_;
  const double stall_s_;
  const std::function<std::string()> failed_;
  const std::shared_ptr<Asker> asker_ = std::make_shared<Asker>();
  LooseThread thread_;
};

}  // namespace hopyard
