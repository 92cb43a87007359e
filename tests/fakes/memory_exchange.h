// Members of a visit within one process: what exchanges between them give, by a table that all of them see.
#pragma once

#include <chrono>
#include <condition_variable>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/text.h"
#include "pipeline/step_exchange.h"

namespace hopyard::fakes {

/// Outlived by its members. Thread-safe.
class MemoryExchange : public std::enable_shared_from_this<MemoryExchange> {
 public:
  /// Nobody waits longer than `wait_s` for another member.
  static std::shared_ptr<MemoryExchange> of(std::uint32_t members, bool in_order = true, double wait_s = 20) {
    return std::shared_ptr<MemoryExchange>(new MemoryExchange(members, in_order, wait_s));
  }
  std::shared_ptr<StepExchange> member(std::uint32_t index);
  /// The member dies when it is about to add its so many-th part.
  void die_at(std::uint32_t member, std::uint64_t part) {
    dies_ = member;
    dies_at_ = part;
  }

 private:
  friend class MemoryMember;
  MemoryExchange(std::uint32_t members, bool in_order, double wait_s)
      : members_(members), in_order_(in_order), wait_s_(wait_s) {}

  struct Entry {
    std::vector<float> sum;
    std::vector<double> values;
    std::uint32_t added = 0, taken = 0;
  };

  template <class Condition>
  void await(std::unique_lock<std::mutex>& lock, const Condition& holds) {
    changed_.wait_for(lock, std::chrono::duration<double>(wait_s_), [&] { return holds() || !broken_.empty(); });
    if (holds()) return;
    fail(text::cat("a member has not come within ", wait_s_, " s"));
    throw ExchangeBroken(broken_);
  }
  void fail(const std::string& reason) {
    if (broken_.empty()) broken_ = reason;
    changed_.notify_all();
  }

  const std::uint32_t members_;
  const bool in_order_;
  const double wait_s_;
  std::uint32_t dies_ = ~0u;
  std::uint64_t dies_at_ = 0;
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::map<std::uint64_t, Entry> entries_;  // by how many came before
  std::string broken_;
};

class MemoryMember : public StepExchange {
 public:
  MemoryMember(std::shared_ptr<MemoryExchange> all, std::uint32_t member) : all_(std::move(all)), member_(member) {}
  ~MemoryMember() override { cancel(text::cat("member ", member_, " is gone")); }

  bool in_order() const override { return all_->in_order_; }

  void gather(std::span<double> values, MicroBatchRange own) override {
    std::unique_lock lock(all_->mutex_);
    require_whole();
    auto& entry = all_->entries_[next_];
    entry.values.resize(values.size());
    std::copy(values.begin() + own.begin, values.begin() + own.end, entry.values.begin() + own.begin);
    ++entry.added;
    all_->changed_.notify_all();
    all_->await(lock, [&] { return entry.added == all_->members_; });
    std::copy(entry.values.begin(), entry.values.end(), values.begin());
    take(next_++, 0);
  }

  void sum(std::span<const GradientPart> parts, std::span<std::byte> staging) override {
    std::fill(staging.begin(), staging.end(), std::byte{0xff});
    std::unique_lock lock(all_->mutex_);
    require_whole();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (member_ == all_->dies_ && parts_++ == all_->dies_at_) {
        all_->fail(text::cat("member ", member_, " died"));
        throw ExchangeBroken(all_->broken_);
      }
      auto& entry = all_->entries_[next_ + i];
      all_->await(lock, [&] { return entry.added == member_; });
      add(parts[i], entry.sum);
      ++entry.added;
      all_->changed_.notify_all();
    }
    for (const auto& part : parts) {
      auto& entry = all_->entries_[next_];
      all_->await(lock, [&] { return entry.added == all_->members_; });
      std::copy(entry.sum.begin(), entry.sum.end(), part.sum.begin());
      std::fill(part.more.begin(), part.more.end(), std::numeric_limits<float>::quiet_NaN());
      take(next_++, part.sum.size_bytes());
    }
  }

  void cancel(const std::string& reason) override {
    const std::lock_guard lock(all_->mutex_);
    all_->fail(reason);
  }

  ExchangeTraffic traffic() const override {
    const std::lock_guard lock(all_->mutex_);
    return traffic_;
  }

 private:
  // All below: with the table's mutex held.
  void require_whole() {
    if (!all_->broken_.empty()) throw ExchangeBroken(all_->broken_);
  }
  static void add(const GradientPart& part, std::vector<float>& sum) {
    for (std::uint32_t piece = 0; piece < part.pieces; ++piece) {
      const auto values = piece == 0 ? part.sum : part.more.subspan((piece - 1) * part.sum.size(), part.sum.size());
      if (sum.empty())
        sum.assign(values.begin(), values.end());
      else
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
    }
  }
  /// As along a chain and back round.
  void take(std::uint64_t index, Bytes bytes) {
    const std::uint32_t last = all_->members_ - 1;
    traffic_.sent += (member_ < last ? bytes : 0) + (member_ + 1 != last ? bytes : 0);
    traffic_.received += (member_ > 0 ? bytes : 0) + (member_ != last ? bytes : 0);
    if (++all_->entries_[index].taken == all_->members_) all_->entries_.erase(index);
  }

  const std::shared_ptr<MemoryExchange> all_;
  const std::uint32_t member_;
  std::uint64_t next_ = 0, parts_ = 0;
  ExchangeTraffic traffic_;
};

inline std::shared_ptr<StepExchange> MemoryExchange::member(std::uint32_t index) {
  return std::make_shared<MemoryMember>(shared_from_this(), index);
}

}  // namespace hopyard::fakes
