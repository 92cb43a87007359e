// What an end has still to push: frames leave in order, from one thread, so that senders never wait for the store.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>

#include "transport/frame.h"

namespace hopyard {

/// One message or control frame on its way to a queue of the store.
struct Parcel {
  std::string queue;
  Frame frame;               ///< a message longer than a frame goes as several, numbered from frame.sequence
  bool drain_first = false;  ///< throw away what is in the queue
};
/// How many frames a message of so many bytes takes.
std::uint64_t frames_of(std::size_t message_bytes);

/// Safe from any thread; one thread takes.
class Outbox {
 public:
  /// False when kMaxQueuedBytes are waiting, and always once it is closed.
  bool add(Parcel parcel);
  /// The next one; nothing once it is closed and empty.
  std::optional<Parcel> take();
  void drop_messages_to(const WorkerId& worker);
  /// Nothing more comes in; take() goes on to the last.
  void close();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Parcel> waiting_;  // guarded by mutex_, as all below
  Bytes bytes_ = 0;
  bool closed_ = false;
};

/// Cuts a parcel into frames, seals each and hands them to `push`.
void push_parcel(const Parcel& parcel, const FrameSeal& seal, FrameSeal::Way way,
                 const std::function<void(const std::string&)>& push);

/// Puts a message together again.
class Assembly {
 public:
  enum class Took {
    part,
    whole,  ///< `message()` has it
    again,  ///< an earlier frame once more: to be ignored
    gap     ///< frames are missing, or there are too many of them: this sender is not to be trusted any more
  };
  Took take(Frame frame);
  std::string message() { return std::exchange(text_, {}); }

 private:
  std::string text_;
  std::uint64_t next_ = 1;
};

}  // namespace hopyard
