// A book that lives as long as its object, for tests of what uses one.
#pragma once

#include <map>
#include <mutex>
#include <utility>

#include "hopper/state_book.h"

namespace hopyard {

/// Outlives a worker, as a file would.
class MemoryStateBook final : public StateBook {
 public:
  std::vector<HeldState> all() const override {
    const std::lock_guard lock(mutex_);
    std::vector<HeldState> all;
    for (const auto& [key, state] : states_) all.push_back(state);
    return all;
  }
  void put(const HeldState& state) override {
    const std::lock_guard lock(mutex_);
    states_[{state.trial, state.visits}] = state;
  }
  void remove(const std::string& trial, std::uint32_t visits) override {
    const std::lock_guard lock(mutex_);
    states_.erase({trial, visits});
  }

 private:
  mutable std::mutex mutex_;  // guards all below
  std::map<std::pair<std::string, std::uint32_t>, HeldState> states_;
};

}  // namespace hopyard
