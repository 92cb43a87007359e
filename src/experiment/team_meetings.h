// How the members of teams find each other, in one incarnation of a worker: on threads, while others train.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "hopper/messages.h"
#include "pipeline/step_exchange.h"

namespace hopyard {

/// begin() and take() from one thread.
class TeamMeetings {
 public:
  /// Blocks, bounded, until all members are there; throws ExchangeBroken when they are not.
  using Meet = std::function<std::shared_ptr<VisitTie>(const Team&)>;
  struct Met {
    std::uint64_t order = 0;
    std::string trial;
    std::shared_ptr<VisitTie> tie;  ///< null: they did not meet
    std::string error;
  };

  /// `notify`: a meeting is over; from any of its threads.
  TeamMeetings(Meet meet, std::function<void()> notify) : meet_(std::move(meet)), notify_(std::move(notify)) {}
  /// Waits for those under way, as long as a meeting may take.
  ~TeamMeetings();

  /// For the visit of this order.
  void begin(const Train& order);
  /// Those that are over since. Throws what no peer or link did.
  std::vector<Met> take();

 private:
  void hold(Met met, const Team& team);

  const Meet meet_;
  const std::function<void()> notify_;
  std::mutex mutex_;  // guards all below but threads_
  std::vector<Met> over_;
  std::vector<std::thread::id> ended_;
  std::exception_ptr broken_;
  std::vector<std::thread> threads_;
};

}  // namespace hopyard
