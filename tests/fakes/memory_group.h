// The memory transport's groups.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "base/text.h"
#include "transport/transport.h"

namespace hopyard::fakes {

/// What all members of a group see. Thread-safe.
class MemoryGroupTable {
 public:
  /// False when not all of `size` members have come in time.
  bool come(const WorkerId& member, std::size_t size, double open_s) {
    std::unique_lock lock(mutex_);
    ends_.insert(member);
    changed_.notify_all();
    return changed_.wait_for(lock, std::chrono::duration<double>(open_s), [&] { return ends_.size() == size; });
  }
  void fail(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    fail_locked(reason);
  }
  void gone(const WorkerId& member) {
    const std::lock_guard lock(mutex_);
    if (ends_.contains(member)) fail_locked(to_string(member) + " is gone");
  }
  bool broken() const {
    const std::lock_guard lock(mutex_);
    return !broken_.empty();
  }
  /// In order of arrival.
  template <class T>
  TransferResult add_up(std::uint64_t round, std::span<T> values, double stall_s) {
    std::unique_lock lock(mutex_);
    if (!broken_.empty()) return {broken_};
    auto& sums = rounds_[round];
    sums.values.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) sums.values[i] += values[i];
    ++sums.added;
    changed_.notify_all();
    const auto there = [&] { return sums.added == ends_.size(); };
    changed_.wait_for(lock, std::chrono::duration<double>(stall_s), [&] { return there() || !broken_.empty(); });
    if (!there()) {
      fail_locked("nothing moved for too long");
      return {broken_};
    }
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(sums.values[i]);
    if (++sums.taken == ends_.size()) rounds_.erase(round);
    return {};
  }

 private:
  struct Sums {
    std::vector<double> values;
    std::size_t added = 0, taken = 0;
  };
  void fail_locked(const std::string& reason) {
    if (broken_.empty()) broken_ = reason;
    changed_.notify_all();
  }
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::set<WorkerId> ends_;
  std::map<std::uint64_t, Sums> rounds_;
  std::string broken_;
};

class MemoryGroup : public Group {
 public:
  MemoryGroup(std::shared_ptr<MemoryGroupTable> table, double stall_s) : table_(std::move(table)), stall_s_(stall_s) {}
  ~MemoryGroup() override { table_->fail("a member has left the group"); }
  TransferResult all_reduce(std::span<float> values) override { return table_->add_up(next_++, values, stall_s_); }
  TransferResult all_reduce(std::span<double> values) override { return table_->add_up(next_++, values, stall_s_); }
  void cancel(const std::string& reason) override { table_->fail(reason); }
  bool broken() const override { return table_->broken(); }

 private:
  const std::shared_ptr<MemoryGroupTable> table_;
  const double stall_s_;
  std::uint64_t next_ = 0;
};

}  // namespace hopyard::fakes
