#include "experiment/state_hops.h"

#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/thread_name.h"

namespace hopyard {

namespace {

constexpr auto kAskAgain = std::chrono::milliseconds(5);

constexpr const char* kCalledOff = "the other end is gone";

std::string after_visits(const Hop& hop) { return text::cat(hop.trial, " after ", hop.visits, " visits"); }

}  // namespace

StateHops::StateHops(StateHopsParts parts) : parts_(std::move(parts)) {}

StateHops::~StateHops() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& [number, link] : links_) link->cancel("the worker leaves");
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void StateHops::begin(Hop hop) {
  const std::lock_guard lock(mutex_);
  Lane& lane = hop.send ? sending_ : receiving_;
  lane.waiting.push_back(std::move(hop));
  changed_.notify_all();
  if (lane.waiting.size() <= lane.idle || lane.threads == kHopsBegun) return;
  threads_.emplace_back([this, &lane, thread = lane.threads++] { work(lane, thread); });
}

void StateHops::call_off(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (const auto open = links_.find(number); open != links_.end())
    open->second->cancel(kCalledOff);
  else
    called_off_.insert(number);
}

std::vector<HopEnd> StateHops::take() {
  const std::lock_guard lock(mutex_);
  if (broken_) std::rethrow_exception(broken_);
  return std::exchange(ended_, {});
}

bool StateHops::waits_for_memory() const {
  const std::lock_guard lock(mutex_);
  return hungry_ > 0;
}

void StateHops::work(Lane& lane, std::size_t thread) {
  name_thread(text::cat("hops ", lane.name));
  const std::string track = text::cat("hops/", lane.name, " ", thread);
  std::unique_lock lock(mutex_);
  while (true) {
    ++lane.idle;
    changed_.wait(lock, [&] { return stopping_ || !lane.waiting.empty(); });
    --lane.idle;
    if (stopping_) return;
    const Hop hop = std::move(lane.waiting.front());
    lane.waiting.pop_front();
    lock.unlock();
    HopEnd end;
    std::exception_ptr broken;
    const double begin_s = monotonic_seconds();
    try {
      end = perform(hop);
    } catch (...) {
      broken = std::current_exception();
    }
    record(track, hop, begin_s);
    lock.lock();
    if (broken)
      broken_ = broken;
    else
      ended_.push_back(std::move(end));
    parts_.notify();
  }
}

void StateHops::record(const std::string& track, const Hop& hop, double begin_s) const {
  if (parts_.trace == nullptr) return;
  parts_.trace->add({parts_.trace->track(track),
                     text::cat(hop.trial, hop.send ? " to worker " : " from worker ", hop.peer.rank), "hop", begin_s,
                     monotonic_seconds(), total_bytes(hop.blobs)});
}

HopEnd StateHops::perform(const Hop& hop) {
  const double begin_s = monotonic_seconds();
  HopEnd end;
  end.number = hop.number;
  end.sent = hop.send;
  end.error = hop.send ? send(hop, end) : receive(hop, end);
  end.seconds = monotonic_seconds() - begin_s;
  return end;
}

std::string StateHops::send(const Hop& hop, HopEnd& end) {
  const auto state = await_state(hop);
  if (!state) return text::cat(after_visits(hop), " is not here");
  std::string error;
  if (state->digest != hop.digest || !same_bytes(state->blobs, hop.blobs)) {
    error = text::cat(after_visits(hop), " is another state here");
  } else {
    error = over_link(hop, end, [&](Link& link) {
      const auto broken = await_ready(link);
      end.link_broke = !broken.empty();
      if (end.link_broke) return broken;
      auto memory = await_memory(sending_bytes(state->blobs), kHopTurnSeconds);
      if (!memory) return text::cat("no host memory to send ", after_visits(hop));
      const auto sent = send_state(link, parts_.disk, state->blobs, std::move(*memory));
      end.digest = sent.digest;
      end.link_broke = sent.link_broke;
      return sent.error;
    });
  }
  parts_.states.give_back(*state);
  return error;
}

std::string StateHops::receive(const Hop& hop, HopEnd& end) {
  return over_link(hop, end, [&](Link& link) {
    const auto take_turn = [this] {
      const std::lock_guard lock(mutex_);
      return in_turn_ < kHopsReceiving && ++in_turn_ > 0;
    };
    if (!await(kHopTurnSeconds, take_turn)) return text::cat("too many hops before ", after_visits(hop));
    const std::shared_ptr<void> turn(nullptr, [this](void*) {
      const std::lock_guard lock(mutex_);
      --in_turn_;
    });
    // Leaves what a send takes, if it can: otherwise two workers might each wait for the other's.
    const Bytes bytes = receiving_bytes(hop.blobs), left = sending_bytes(hop.blobs);
    auto memory = await_memory(bytes + left, kHopOpenSeconds);
    if (memory)
      memory->split(left);
    else
      memory = await_memory(bytes, kHopTurnSeconds);
    if (!memory) return text::cat("no host memory to receive ", after_visits(hop));
    if (const auto broken = say_ready(link); !broken.empty()) return broken;
    auto received = receive_state(link, parts_.disk, hop.blobs, std::move(*memory));
    if (received.disk_full) throw DiskFull(received.error);  // no other hop would end better
    end.digest = received.digest;
    if (received.error.empty())
      parts_.states.put_received({hop.trial, hop.visits, hop.digest, std::move(received.blobs)});
    return received.error;
  });
}

std::string StateHops::over_link(const Hop& hop, HopEnd& end, const std::function<std::string(Link&)>& transfer) {
  LinkOrder order{hop.peer, hop.number};
  order.open_s = kHopOpenSeconds;
  order.stall_s = kHopStallSeconds;
  const auto opened = parts_.end.open_link(order);
  end.link_broke = end.no_link = !opened.link;
  if (end.no_link) return opened.error;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return "the worker leaves";
    if (called_off_.contains(hop.number)) return kCalledOff;
    links_[hop.number] = opened.link.get();
  }
  std::string error;
  try {
    error = transfer(*opened.link);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    links_.erase(hop.number);
    throw;
  }
  const std::lock_guard lock(mutex_);
  links_.erase(hop.number);
  return error;
}

std::optional<HeldState> StateHops::await_state(const Hop& hop) {
  std::optional<HeldState> state;
  await(kHopOpenSeconds, [&] { return (state = parts_.states.lend(hop.trial, hop.visits)).has_value(); });
  return state;
}

std::optional<HostReservation> StateHops::await_memory(Bytes bytes, double seconds) {
  auto memory = parts_.host.reserve(bytes);
  if (memory) return memory;
  {
    const std::lock_guard lock(mutex_);
    ++hungry_;
  }
  parts_.notify();
  await(seconds, [&] { return (memory = parts_.host.reserve(bytes)).has_value(); });
  const std::lock_guard lock(mutex_);
  --hungry_;
  return memory;
}

bool StateHops::await(double seconds, const std::function<bool()>& holds) {
  const double until_s = monotonic_seconds() + seconds;
  while (!holds()) {
    std::unique_lock lock(mutex_);
    if (monotonic_seconds() > until_s || changed_.wait_for(lock, kAskAgain, [&] { return stopping_; })) return false;
  }
  return true;
}

}  // namespace hopyard
