#include "transport/outbox.h"

#include <algorithm>

namespace hopyard {

std::uint64_t frames_of(std::size_t message_bytes) {
  return std::max<std::uint64_t>(1, (message_bytes + kMaxFrameBody - 1) / kMaxFrameBody);
}

bool Outbox::add(Parcel parcel) {
  const std::lock_guard lock(mutex_);
  const bool message = parcel.frame.kind == Frame::Kind::message;
  if (closed_ || (message && bytes_ + parcel.frame.body.size() > kMaxQueuedBytes)) return false;
  bytes_ += parcel.frame.body.size();
  waiting_.push_back(std::move(parcel));
  changed_.notify_one();
  return true;
}

std::optional<Parcel> Outbox::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || !waiting_.empty(); });
  if (waiting_.empty()) return std::nullopt;
  Parcel parcel = std::move(waiting_.front());
  waiting_.pop_front();
  bytes_ -= parcel.frame.body.size();
  return parcel;
}

void Outbox::drop_messages_to(const WorkerId& worker) {
  const std::lock_guard lock(mutex_);
  std::erase_if(waiting_, [&](const Parcel& parcel) {
    const bool dropped = parcel.frame.kind == Frame::Kind::message && parcel.frame.worker == worker;
    if (dropped) bytes_ -= parcel.frame.body.size();
    return dropped;
  });
}

void Outbox::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void push_parcel(const Parcel& parcel, const FrameSeal& seal, FrameSeal::Way way,
                 const std::function<void(const std::string&)>& push) {
  const auto count = frames_of(parcel.frame.body.size());
  for (std::uint64_t i = 0; i < count; ++i) {
    const bool last = i + 1 == count;
    push(seal.seal({last ? parcel.frame.kind : Frame::Kind::part, parcel.frame.worker, parcel.frame.sequence + i,
                    parcel.frame.body.substr(i * kMaxFrameBody, kMaxFrameBody)},
                   way));
  }
}

Assembly::Took Assembly::take(Frame frame) {
  if (frame.sequence < next_) return Took::again;
  if (frame.sequence > next_ || text_.size() + frame.body.size() > kMaxMessageBytes) return Took::gap;
  ++next_;
  text_ = text_.empty() ? std::move(frame.body) : text_ + frame.body;
  return frame.kind == Frame::Kind::message ? Took::whole : Took::part;
}

}  // namespace hopyard
