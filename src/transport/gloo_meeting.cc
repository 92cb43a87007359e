#include "transport/gloo_meeting.h"

#include "base/text.h"
#include "transport/loose_thread.h"
#include "transport/sockets.h"
#include "transport/store.h"

namespace hopyard {

namespace {

constexpr double kSlackSeconds = 0.5;  // for whoever is late to say what was wrong

Meeting meet_now(const MeetingOrder& order) {
  Meeting meeting;
  const auto store = connect_store(order.store, order.open_s, meeting.error);
  if (!store) return meeting;
  try {
    const auto before = open_sockets();
    meeting.store = c10::make_intrusive<CornerStore>(order.corner, store);
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(order.open_s));
    options->threads = 1;
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(order.bind_address));
    meeting.group =
        c10::make_intrusive<c10d::ProcessGroupGloo>(meeting.store, order.member, order.members, std::move(options));
    tune_connections(before);
  } catch (const std::exception& problem) {
    meeting.error = plain_text(problem);
  }
  return meeting;
}

}  // namespace

void CornerStore::set(const std::string& key, const std::vector<std::uint8_t>& value) {
  c10d::PrefixStore::set(key, value);
  const std::lock_guard lock(mutex_);
  written_.insert(key);
}

void CornerStore::clear() {
  const std::lock_guard lock(mutex_);
  for (const auto& key : written_) deleteKey(key);
  written_.clear();
}

Meeting meet(const MeetingOrder& order) {
  auto meeting = bounded(order.open_s + kSlackSeconds, [order] { return meet_now(order); });
  if (meeting) return std::move(*meeting);
  return {{}, {}, text::cat("not all have come within ", order.open_s, " s")};
}

void part(c10::intrusive_ptr<CornerStore> store, c10::intrusive_ptr<c10d::ProcessGroupGloo> group,
          std::vector<at::Tensor> held, double wait_s) {
  struct Left {
    std::vector<at::Tensor> held;  // ends last
    c10::intrusive_ptr<c10d::ProcessGroupGloo> group;
  };
  auto left = std::make_shared<Left>(Left{std::move(held), std::move(group)});
  LooseThread undertaker("gloo end", [store = std::move(store), left = std::move(left)] {
    left->group.reset();
    try {
      store->clear();
    } catch (const std::exception&) {  // the store is gone, and the keys with it
    }
  });
  undertaker.finished_within(wait_s);
  undertaker.give_up();
}

}  // namespace hopyard
