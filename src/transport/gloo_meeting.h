// Processes that meet in the store to make a ProcessGroupGloo. Internal, for links and groups.
#pragma once

#define USE_C10D_GLOO  // the wheel has it, and its header shows the class only then
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <chrono>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "transport/transport.h"

namespace hopyard {

inline std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000) + 1);
}

/// A corner of the store. It remembers what this end wrote there, to take it away in the end.
class CornerStore : public c10d::PrefixStore {
 public:
  using c10d::PrefixStore::PrefixStore;
  void set(const std::string& key, const std::vector<std::uint8_t>& value) override;
  void clear();

 private:
  std::mutex mutex_;
  std::set<std::string> written_;  // guarded by mutex_
};

struct Meeting {
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group;
  c10::intrusive_ptr<CornerStore> store;
  std::string error;  ///< empty when all have met
};

/// Where and who: the same at all but for `member`.
struct MeetingOrder {
  Endpoint store;
  std::string bind_address;  ///< of this machine
  std::string corner;        ///< of the store; nobody has met there before
  int member = 0, members = 2;
  double open_s = 5;
};
/// At most `open_s`, and half a second.
Meeting meet(const MeetingOrder& order);

/// Ends a meeting; `held` goes last. The store's server may be stopped, or the group in the middle of something: after
/// `wait_s` they are left to themselves.
void part(c10::intrusive_ptr<CornerStore> store, c10::intrusive_ptr<c10d::ProcessGroupGloo> group,
          std::vector<at::Tensor> held, double wait_s);

}  // namespace hopyard
