// Hops of one incarnation of a worker: each on a thread, while others train.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/trace.h"
#include "experiment/held_states.h"
#include "hopper/messages.h"
#include "hopper/state_transfer.h"

namespace hopyard {

/// So many hops each way are begun at a time; others wait for their turn, in the order of asking.
constexpr std::size_t kHopsBegun = 16;
/// Of those that are begun, so many receive at a time: each takes memory of a version, or of its largest blob.
constexpr std::size_t kHopsReceiving = 2;
/// So long an end of a hop waits for its state, and for the other end to come.
constexpr double kHopOpenSeconds = 5;
/// So long it waits for its turn to receive, and for memory, each.
constexpr double kHopTurnSeconds = 50;
/// So long it waits for a chunk: the other end may be waiting for both.
constexpr double kHopStallSeconds = 120;

struct StateHopsParts {
  WorkerEnd& end;
  HostTier& host;
  SharedVersions& disk;
  HeldStates& states;
  std::function<void()> notify;    ///< a hop has ended, or waits for memory; from any of its threads
  TraceRecorder* trace = nullptr;  ///< may be null; gets a slice for each hop, a track for each thread
};

/// begin(), call_off() and take() from one thread.
class StateHops {
 public:
  explicit StateHops(StateHopsParts parts);
  /// Breaks what is under way. Takes at most kHopOpenSeconds and a little, for ends that wait for another to come.
  ~StateHops();

  void begin(Hop hop);
  /// The hop is given up: it ends with an error, unless it is over. One that waits for its other end to come ends when
  /// that wait does.
  void call_off(std::uint64_t number);
  /// Those that ended since, in the order of ending. Throws what no peer, disk or link did, and DiskFull.
  std::vector<HopEnd> take();
  /// A hop could go on if somebody gave host memory back.
  bool waits_for_memory() const;

 private:
  struct Lane {  // hops one way
    const char* name;
    std::deque<Hop> waiting;
    std::size_t threads = 0, idle = 0;
  };
  void work(Lane& lane, std::size_t thread);
  HopEnd perform(const Hop& hop);
  void record(const std::string& track, const Hop& hop, double begin_s) const;
  std::string send(const Hop& hop, HopEnd& end);
  std::string receive(const Hop& hop, HopEnd& end);
  std::optional<HeldState> await_state(const Hop& hop);
  std::optional<HostReservation> await_memory(Bytes bytes, double seconds);
  /// Calls `transfer` with an open link, which the destructor breaks. The error of opening it, which is the link's, or
  /// what `transfer` returns.
  std::string over_link(const Hop& hop, HopEnd& end, const std::function<std::string(Link&)>& transfer);
  /// Asks every few milliseconds; false when it was not so within this time, or all is over.
  bool await(double seconds, const std::function<bool()>& holds);

  StateHopsParts parts_;
  mutable std::mutex mutex_;  // guards all below but threads_
  std::condition_variable changed_;
  bool stopping_ = false;
  Lane sending_{"send", {}}, receiving_{"receive", {}};
  std::map<std::uint64_t, Link*> links_;  // open ones, by the number of the hop
  std::set<std::uint64_t> called_off_;    // of hops that had no link then
  std::size_t in_turn_ = 0;               // that receive
  std::size_t hungry_ = 0;                // that wait for memory
  std::vector<HopEnd> ended_;
  std::exception_ptr broken_;
  std::vector<std::thread> threads_;
};

}  // namespace hopyard
