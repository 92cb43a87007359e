#include "cuda/link_speed.h"

#include "cuda/cuda_handles.h"
#include "cuda/pinned_block.h"

namespace hopyard {

namespace {

constexpr int kRounds = 3;

/// One direction: a block of either memory, and the stream between them.
class Way {
 public:
  Way(CudaCalls& calls, CopyDirection direction, Bytes bytes)
      : calls_(calls),
        direction_(direction),
        bytes_(bytes),
        host_(calls, bytes),
        begin_(calls, true),
        end_(calls, true),
        stream_(calls),
        card_(calls.allocate(stream_.get(), {static_cast<std::int64_t>(bytes)}, at::kByte)) {}

  void start() {
    calls_.record(begin_.get(), stream_.get());
    for (int round = 0; round < kRounds; ++round) {
      if (direction_ == CopyDirection::to_card)
        calls_.copy(card_.data_ptr(), host_.data(), bytes_, direction_, stream_.get());
      else
        calls_.copy(host_.data(), card_.data_ptr(), bytes_, direction_, stream_.get());
    }
    calls_.record(end_.get(), stream_.get());
  }
  /// bytes/s since start()
  double finish() {
    calls_.synchronize(end_.get());
    const double seconds = calls_.elapsed_s(begin_.get(), end_.get());
    return seconds > 0 ? kRounds * static_cast<double>(bytes_) / seconds : 0;
  }
  bool pinned() const { return host_.pinned(); }

 private:
  CudaCalls& calls_;
  const CopyDirection direction_;
  const Bytes bytes_;
  const PinnedBlock host_;
  const OwnedEvent begin_, end_;
  const OwnedStream stream_;
  const at::Tensor card_;
};

}  // namespace

LinkSpeed measure_link(CudaCalls& calls, Bytes bytes) {
  Way to_card(calls, CopyDirection::to_card, bytes), to_host(calls, CopyDirection::to_host, bytes);
  for (Way* way : {&to_card, &to_host}) {  // the first copies find the link asleep
    way->start();
    way->finish();
  }
  LinkSpeed speed;
  speed.pinned = to_card.pinned() && to_host.pinned();
  to_card.start();
  speed.to_card = to_card.finish();
  to_host.start();
  speed.to_host = to_host.finish();
  to_card.start();
  to_host.start();
  speed.to_card_duplex = to_card.finish();
  speed.to_host_duplex = to_host.finish();
  return speed;
}

}  // namespace hopyard
