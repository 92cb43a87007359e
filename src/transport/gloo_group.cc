#include "transport/gloo_group.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "base/failure.h"
#include "transport/gloo_meeting.h"
#include "transport/loose_thread.h"
#include "transport/store.h"

namespace hopyard {

namespace {

constexpr double kSlackSeconds = 0.5;  // beyond Gloo's own bound, so that its words are heard

/// Adds up in a bucket of its own: Gloo cannot be called back from a collective, and whoever cancels takes the caller's
/// memory away. What is broken lets its connections go, by which the others hear of it, as soon as Gloo is through.
class GlooGroup : public Group {
 public:
  GlooGroup(Meeting meeting, double stall_s)
      : stall_s_(stall_s),
        bucket_(at::empty({static_cast<std::int64_t>(kChunkBytes)}, at::kByte)),
        store_(std::move(meeting.store)),
        group_(std::move(meeting.group)) {}
  ~GlooGroup() override {
    if (group_) part(std::move(store_), std::move(group_), {bucket_}, kGiveUpSeconds);
  }

  TransferResult all_reduce(std::span<float> values) override { return in_buckets(values, at::kFloat); }
  TransferResult all_reduce(std::span<double> values) override { return in_buckets(values, at::kDouble); }

  void cancel(const std::string& reason) override {
    const std::lock_guard lock(waiting_->mutex);
    break_off(reason);
  }
  bool broken() const override {
    const std::lock_guard lock(waiting_->mutex);
    return !broken_.empty();
  }

 private:
  /// Outlives the group where a collective does.
  struct Waiting {
    std::mutex mutex;
    std::condition_variable changed;
    std::uint64_t ended = 0;   // collectives; guarded by mutex
    std::exception_ptr error;  // of the last; guarded by mutex
  };

  template <class T>
  TransferResult in_buckets(std::span<T> values, at::ScalarType type) {
    for (std::size_t first = 0; first < values.size(); first += kChunkBytes / sizeof(T)) {
      const auto some = values.subspan(first, std::min<std::size_t>(kChunkBytes / sizeof(T), values.size() - first));
      std::memcpy(bucket_.data_ptr(), some.data(), some.size_bytes());
      const std::string error =
          run(at::from_blob(bucket_.data_ptr(), {static_cast<std::int64_t>(some.size())}, at::TensorOptions(type)));
      if (!error.empty()) return {text::cat("the members' values could not be added up: ", error)};
      std::memcpy(some.data(), bucket_.data_ptr(), some.size_bytes());
    }
    return {};
  }

  std::string run(const at::Tensor& bucket) {
    std::unique_lock lock(waiting_->mutex);
    if (!broken_.empty()) return broken_;
    c10::intrusive_ptr<c10d::Work> work;
    try {
      work = begin(bucket);
    } catch (const std::exception& problem) {
      break_off(plain_text(problem));
      return broken_;
    }
    ++begun_;
    running_ = true;
    lock.unlock();  // called back at once where it has ended
    // The future knows of an error before the work does.
    work->getFuture()->addCallback([waiting = waiting_](c10::ivalue::Future& future) {
      const std::lock_guard lock(waiting->mutex);
      ++waiting->ended;
      waiting->error = future.hasError() ? future.exception_ptr() : nullptr;
      waiting->changed.notify_all();
    });
    lock.lock();
    const auto over = [&] { return waiting_->ended == begun_ || !broken_.empty(); };
    const bool in_time = waiting_->changed.wait_for(lock, milliseconds(stall_s_ + kSlackSeconds), over);
    running_ = false;
    const auto error = in_time ? waiting_->error : nullptr;
    if (!in_time || error) break_off(error ? words_of(error) : text::cat("nothing moved for ", stall_s_, " s"));
    if (!broken_.empty()) leave();
    return broken_;
  }

  // c10d's flight recorder, which the groups of a process share, enters each of them in a table that nothing guards.
  c10::intrusive_ptr<c10d::Work> begin(const at::Tensor& bucket) {
    static std::mutex recorder;
    std::vector<at::Tensor> tensors{bucket};
    c10d::AllreduceOptions options;
    options.timeout = milliseconds(stall_s_);
    const std::lock_guard lock(recorder);
    return group_->allreduce(tensors, options);
  }

  static std::string words_of(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& problem) {
      return plain_text(problem);
    }
  }

  // Both with the mutex held.
  void break_off(const std::string& reason) {
    if (broken_.empty()) broken_ = reason;
    waiting_->changed.notify_all();
    if (!running_) leave();
  }
  void leave() {
    if (group_) part(std::move(store_), std::move(group_), {bucket_}, 0);
  }

  const double stall_s_;
  const at::Tensor bucket_;
  const std::shared_ptr<Waiting> waiting_ = std::make_shared<Waiting>();  // whose mutex guards all below
  c10::intrusive_ptr<CornerStore> store_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
  std::uint64_t begun_ = 0;
  bool running_ = false;
  std::string broken_;
};

}  // namespace

OpenedGroup open_gloo_group(const Endpoint& store, const std::string& bind_address, const WorkerId& self,
                            const GroupOrder& order) {
  const auto place = std::find(order.members.begin(), order.members.end(), self);
  require(place != order.members.end(), to_string(self), " is no member of the group that it opens");
  std::string corner = text::cat("group/", order.number);
  for (const auto& member : order.members) corner += text::cat('/', member.rank, '.', member.incarnation);
  auto meeting = meet({store, bind_address, corner, static_cast<int>(place - order.members.begin()),
                       static_cast<int>(order.members.size()), order.open_s});
  if (!meeting.error.empty()) return {nullptr, text::cat("no group of ", order.members.size(), ": ", meeting.error)};
  return {std::make_unique<GlooGroup>(std::move(meeting), order.stall_s), ""};
}

}  // namespace hopyard
