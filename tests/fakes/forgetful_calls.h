// Calls of CUDA of which one kind is left out: what a program would do whose author forgot that wait. A test that
// passes all the same does not look.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <mutex>

#include "cuda/copy_lane.h"
#include "fakes/calls_around.h"

namespace hopyard::fakes {

/// The places that order something, by what they order.
enum class OrderingSite : std::uint8_t {
  none,
  load_begin_record,   ///< by which only time is told
  load_end_record,     ///< behind the copies of a load
  load_synchronize,    ///< before `done` of a load
  store_begin_record,  ///< as for loads
  store_end_record,
  store_synchronize,
  staging_record,       ///< behind a piece on its way
  staging_synchronize,  ///< before a piece is used anew
  staging_end,          ///< before its memory goes
  compute_record,       ///< finish_compute()
  compute_synchronize,
};

inline const char* to_string(OrderingSite site) {
  constexpr std::array kNames{"none",
                              "the record before a load",
                              "the record behind a load",
                              "the wait for a load",
                              "the record before a store",
                              "the record behind a store",
                              "the wait for a store",
                              "the record behind a staged piece",
                              "the wait for a piece before it is used anew",
                              "the wait for staged pieces before their memory goes",
                              "the record behind what was computed",
                              "the wait for what was computed"};
  return kNames[static_cast<std::size_t>(site)];
}

/// Around other calls, which must outlive it. It tells places apart by the order in which a CudaDevice, or a CopyDoor
/// alone, makes its events: each lane the one before and the one behind in turn, the load lane first; of those without
/// timing the first is for what was computed, the others are for staging.
class ForgetfulCalls final : public CallsAround {
 public:
  ForgetfulCalls(CudaCalls& inner, OrderingSite forgotten) : CallsAround(inner), forgotten_(forgotten) {}

  EventHandle make_event(bool timing) override {
    const EventHandle event = inner_.make_event(timing);
    const std::lock_guard lock(mutex_);
    places_[event] = timing ? timed() : plain();
    return event;
  }
  void record(EventHandle event, StreamHandle stream) override {
    if (forgets(event, &Places::record)) return;
    inner_.record(event, stream);
  }
  void synchronize(EventHandle event) override {
    if (forgets(event, ending_ ? &Places::end : &Places::synchronize)) return;
    inner_.synchronize(event);
  }
  double elapsed_s(EventHandle begin, EventHandle end) override {
    if (forgotten_ == OrderingSite::none) return inner_.elapsed_s(begin, end);
    try {
      return inner_.elapsed_s(begin, end);
    } catch (const CudaFailure&) {
      return 0;  // it must be seen by what becomes of the bytes, too
    }
  }
  void destroy_stream(StreamHandle stream) noexcept override {
    ending_ = true;
    inner_.destroy_stream(stream);
  }

 private:
  struct Places {
    OrderingSite record, synchronize, end;
  };
  Places timed() {
    const bool load = timed_events_ < 2 * CopyLane::kTransfersInFlightMax, before = timed_events_++ % 2 == 0;
    const OrderingSite waited = load ? OrderingSite::load_synchronize : OrderingSite::store_synchronize;
    if (before) return {load ? OrderingSite::load_begin_record : OrderingSite::store_begin_record, waited, waited};
    return {load ? OrderingSite::load_end_record : OrderingSite::store_end_record, waited, waited};
  }
  Places plain() {
    if (plain_events_++ > 0)
      return {OrderingSite::staging_record, OrderingSite::staging_synchronize, OrderingSite::staging_end};
    return {OrderingSite::compute_record, OrderingSite::compute_synchronize, OrderingSite::compute_synchronize};
  }
  bool forgets(EventHandle event, OrderingSite Places::*place) {
    const std::lock_guard lock(mutex_);
    return forgotten_ != OrderingSite::none && places_.at(event).*place == forgotten_;
  }

  const OrderingSite forgotten_;
  std::atomic<bool> ending_{false};
  std::mutex mutex_;  // guards all below
  std::map<EventHandle, Places> places_;
  std::size_t timed_events_ = 0, plain_events_ = 0;
};

}  // namespace hopyard::fakes
