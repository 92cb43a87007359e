#include "cuda/nccl_communicator.h"

#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "transport/loose_thread.h"

namespace hopyard {

namespace {

constexpr double kPollSeconds = 50e-6;

}  // namespace

NcclCommunicator::NcclCommunicator(std::shared_ptr<NcclCalls> nccl, const NcclId& id, int members, int member)
    : nccl_(std::move(nccl)), comm_(nccl_->begin(id, members, member)) {}

void NcclCommunicator::ask(const std::function<void(NcclCalls&, CommHandle)>& operation, double seconds) {
  {
    const std::lock_guard lock(mutex_);
    if (comm_ == nullptr) throw NcclFailure("NCCL's communicator was ended");
    nccl_->together([&] { operation(*nccl_, comm_); });
  }
  settle(seconds, "NCCL did not begin the operation");
}

void NcclCommunicator::settle(double seconds, const char* otherwise) {
  const double until_s = monotonic_seconds() + seconds;
  while (!settled()) {
    if (monotonic_seconds() > until_s) throw NcclFailure(text::cat(otherwise, " within ", seconds, " s"));
    sleep_seconds(kPollSeconds);
  }
}

bool NcclCommunicator::settled() {
  const std::lock_guard lock(mutex_);
  if (comm_ == nullptr) throw NcclFailure("NCCL's communicator was ended");
  return nccl_->settled(comm_);
}

void NcclCommunicator::check() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock.owns_lock() && comm_ != nullptr) nccl_->settled(comm_);
}

void NcclCommunicator::abort() noexcept {
  std::unique_lock lock(mutex_, std::try_to_lock);
  for (const double until_s = monotonic_seconds() + kGiveUpSeconds;
       !lock.owns_lock() && monotonic_seconds() < until_s && !lock.try_lock();)
    sleep_seconds(kPollSeconds);
  if (!lock.owns_lock() || comm_ == nullptr) return;  // or somebody hangs in it, and it is left to itself
  LooseThread("nccl abort", [nccl = nccl_, comm = std::exchange(comm_, nullptr)] { nccl->abort(comm); });
}

}  // namespace hopyard
