#include "pipeline/scheduler.h"

#include <cmath>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard {
namespace {

/// Idle trials in the order of a priority that a policy gives when they are added: smallest first, ties by trial
/// number.
class OrderedScheduler : public Scheduler {
 public:
  void add(const IdleTrial& trial) override {
    const double key = priority(trial);
    require(!std::isnan(key), "trial ", trial.trial, " has no number for its remaining time");
    const bool added = place_.try_emplace(trial.trial, key).second;
    require(added, "trial ", trial.trial, " is idle already");
    order_.emplace(key, trial.trial);
  }

  void remove(std::uint32_t trial) override {
    const auto found = place_.find(trial);
    if (found == place_.end()) return;
    order_.erase({found->second, trial});
    place_.erase(found);
  }

  std::size_t size() const override { return order_.size(); }

  std::optional<std::uint32_t> pick(const std::function<bool(std::uint32_t trial)>& accepts) override {
    int attempts = 0;
    for (auto it = order_.begin(); it != order_.end() && attempts < kPickAttempts; ++it, ++attempts) {
      if (accepts(it->second)) return it->second;
    }
    return std::nullopt;
  }

 protected:
  using Order = std::set<std::pair<double, std::uint32_t>>;

  virtual double priority(const IdleTrial& trial) = 0;
  const Order& order() const { return order_; }

 private:
  Order order_;
  std::unordered_map<std::uint32_t, double> place_;  // the priority under which a trial stands in order_
};

/// Sharded-LRTF: the longest remaining time first (Hydra §4.7).
class LongestRemaining final : public OrderedScheduler {
  double priority(const IdleTrial& trial) override { return -trial.remaining_s; }
};

/// The visit that began first.
class OldestVisit final : public OrderedScheduler {
  double priority(const IdleTrial& trial) override { return static_cast<double>(trial.begun); }
};

/// LPT: the longest whole trial first, however much of it is done.
class LongestTotal final : public OrderedScheduler {
  double priority(const IdleTrial& trial) override { return -trial.total_s; }
};

/// In the order of becoming idle. A double counts exactly up to 2^53.
class FirstInFirstOut final : public OrderedScheduler {
  double priority(const IdleTrial&) override { return static_cast<double>(added_++); }
  std::uint64_t added_ = 0;
};

/// A fresh keyed number at each becoming idle.
class KeyedRandom final : public OrderedScheduler {
 public:
  explicit KeyedRandom(std::uint64_t seed) : stream_(derive(seed, "scheduler")) {}

 private:
  double priority(const IdleTrial&) override { return stream_.uniform(); }
  KeyedStream stream_;
};

/// By trial number, beginning after the last one picked.
class RoundRobin final : public OrderedScheduler {
 public:
  std::optional<std::uint32_t> pick(const std::function<bool(std::uint32_t trial)>& accepts) override {
    const Order& trials = order();
    auto it = trials.lower_bound({from_, 0});
    const std::size_t attempts = std::min<std::size_t>(trials.size(), kPickAttempts);
    for (std::size_t attempt = 0; attempt < attempts; ++attempt, ++it) {
      if (it == trials.end()) it = trials.begin();
      if (!accepts(it->second)) continue;
      from_ = it->first + 1;
      return it->second;
    }
    return std::nullopt;
  }

 private:
  double priority(const IdleTrial& trial) override { return trial.trial; }
  double from_ = 0;
};

}  // namespace

std::optional<std::uint32_t> pick_sharing(Scheduler& scheduler, const std::function<bool(std::uint32_t trial)>& accepts,
                                          const std::function<Standing(std::uint32_t trial)>& standing) {
  std::optional<std::uint32_t> behind;
  double most_left = 0, least_s = 0;
  const auto loaded = scheduler.pick([&](std::uint32_t trial) {
    if (!accepts(trial)) return false;
    const Standing now = standing(trial);
    if (!behind) least_s = now.remaining_s - now.step_s;
    if (now.remaining_s < least_s) return false;
    if (now.loaded || (!behind && !now.shares)) return true;
    if (now.shares && (!behind || now.step_left > most_left)) {
      behind = trial;
      most_left = now.step_left;
    }
    return false;
  });
  return loaded ? loaded : behind;
}

std::string to_string(SchedulerKind kind) {
  switch (kind) {
    case SchedulerKind::lrtf:
      return "lrtf";
    case SchedulerKind::oldest:
      return "oldest";
    case SchedulerKind::fifo:
      return "fifo";
    case SchedulerKind::random:
      return "random";
    case SchedulerKind::lpt:
      return "lpt";
    case SchedulerKind::round_robin:
      return "round_robin";
  }
  return "unknown";
}

std::unique_ptr<Scheduler> make_scheduler(SchedulerKind kind, std::uint64_t seed) {
  switch (kind) {
    case SchedulerKind::lrtf:
      return std::make_unique<LongestRemaining>();
    case SchedulerKind::oldest:
      return std::make_unique<OldestVisit>();
    case SchedulerKind::fifo:
      return std::make_unique<FirstInFirstOut>();
    case SchedulerKind::random:
      return std::make_unique<KeyedRandom>(seed);
    case SchedulerKind::lpt:
      return std::make_unique<LongestTotal>();
    case SchedulerKind::round_robin:
      return std::make_unique<RoundRobin>();
  }
  require(false, "no such scheduler: ", static_cast<int>(kind));
  return nullptr;
}

}  // namespace hopyard
