#include "experiment/team_meetings.h"

#include <algorithm>
#include <utility>

namespace hopyard {

TeamMeetings::~TeamMeetings() {
  for (auto& thread : threads_) thread.join();
}

void TeamMeetings::begin(const Train& order) {
  threads_.emplace_back([this, met = Met{order.number, order.spec.id, nullptr, ""}, team = *order.team]() mutable {
    hold(std::move(met), team);
  });
}

void TeamMeetings::hold(Met met, const Team& team) {
  std::exception_ptr broken;
  try {
    met.tie = meet_(team);
  } catch (const ExchangeBroken& missed) {
    met.error = missed.what();
  } catch (...) {
    broken = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    ended_.push_back(std::this_thread::get_id());
    if (broken)
      broken_ = broken;
    else
      over_.push_back(std::move(met));
  }
  notify_();
}

std::vector<TeamMeetings::Met> TeamMeetings::take() {
  std::vector<Met> over;
  std::vector<std::thread::id> ended;
  {
    const std::lock_guard lock(mutex_);
    if (broken_) std::rethrow_exception(broken_);
    over.swap(over_);
    ended.swap(ended_);
  }
  std::erase_if(threads_, [&](std::thread& thread) {
    if (std::find(ended.begin(), ended.end(), thread.get_id()) == ended.end()) return false;
    thread.join();
    return true;
  });
  return over;
}

}  // namespace hopyard
