#include "cuda/nccl_staging.h"

#include <algorithm>

#include "base/clock.h"
#include "transport/loose_thread.h"

namespace hopyard {

namespace {

constexpr Bytes kBytesOfOne = kChunksInFlight * kChunkBytes;
constexpr double kPollSeconds = 1e-3;

/// Whatever hangs on a card may still write there.
void leave_to_itself(std::unique_ptr<NcclStaging> staging) {
  static std::mutex mutex;
  static auto* const left = new std::vector<std::unique_ptr<NcclStaging>>;  // guarded by mutex; never ends
  const std::lock_guard lock(mutex);
  left->push_back(std::move(staging));
}

}  // namespace

NcclStaging::NcclStaging(std::shared_ptr<CudaCalls> calls)
    : calls_(std::move(calls)),
      copies_(*calls_),
      nccl_(*calls_),
      chunks_([this] {
        std::vector<Chunk> chunks;
        for (std::size_t i = 0; i < kChunksInFlight; ++i)
          chunks.push_back({OwnedEvent(*calls_, false), OwnedEvent(*calls_, false)});
        return chunks;
      }()),
      copies_end_(*calls_, false),
      nccl_end_(*calls_, false),
      memory_(*calls_, kBytesOfOne),
      tensor_(calls_->allocate(copies_.get(), {static_cast<std::int64_t>(kBytesOfOne)}, at::kByte)),
      card_(static_cast<std::byte*>(tensor_.data_ptr())) {}

void NcclStaging::to_card(std::size_t chunk, Bytes bytes) {
  const Chunk& one = chunks_[chunk % kChunksInFlight];
  calls_->copy(card(chunk), host(chunk), bytes, CopyDirection::to_card, copies_.get());
  calls_->record(one.handed.get(), copies_.get());
  calls_->wait(nccl_.get(), one.handed.get());
}

void NcclStaging::to_host(std::size_t chunk, Bytes bytes, bool beside) {
  const Chunk& one = chunks_[chunk % kChunksInFlight];
  const StreamHandle stream = beside ? copies_.get() : nccl_.get();
  if (beside) {
    calls_->record(one.handed.get(), nccl_.get());
    calls_->wait(stream, one.handed.get());
  }
  calls_->copy(host(chunk), card(chunk), bytes, CopyDirection::to_host, stream);
  calls_->record(one.done.get(), stream);
}

void NcclStaging::ends_here(std::size_t chunk) {
  calls_->record(chunks_[chunk % kChunksInFlight].done.get(), nccl_.get());
}

void NcclStaging::close() noexcept {
  closed_ = false;
  try {
    calls_->record(copies_end_.get(), copies_.get());
    calls_->record(nccl_end_.get(), nccl_.get());
    closed_ = true;
  } catch (const CudaFailure&) {
    // The card is lost.
  }
}

bool NcclStaging::idle() const noexcept {
  try {
    return closed_ && calls_->happened(copies_end_.get()) && calls_->happened(nccl_end_.get());
  } catch (const CudaFailure&) {
    return false;
  }
}

NcclStagings::~NcclStagings() {
  for (auto& staging : free_) {
    const double until_s = monotonic_seconds() + kGiveUpSeconds;
    while (!staging->idle() && monotonic_seconds() < until_s) sleep_seconds(kPollSeconds);
    if (!staging->idle()) leave_to_itself(std::move(staging));
  }
}

std::shared_ptr<NcclStaging> NcclStagings::take(const std::shared_ptr<NcclStagings>& all) {
  const std::lock_guard lock(all->mutex_);
  std::unique_ptr<NcclStaging> taken;
  const auto idle = std::find_if(all->free_.begin(), all->free_.end(), [](const auto& one) { return one->idle(); });
  if (idle != all->free_.end()) {
    taken = std::move(*idle);
    all->free_.erase(idle);
  } else if (all->made_ < kMax) {
    taken = std::make_unique<NcclStaging>(all->calls_);
    ++all->made_;
  } else {
    return nullptr;
  }
  return {taken.release(), [all](NcclStaging* staging) { all->give_back(staging); }};
}

void NcclStagings::give_back(NcclStaging* staging) noexcept {
  staging->close();
  const std::lock_guard lock(mutex_);
  free_.emplace_back(staging);
}

}  // namespace hopyard
