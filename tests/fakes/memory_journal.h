// A journal that lives as long as its object, for tests of what uses one.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/failure.h"
#include "base/journal.h"

namespace hopyard {

/// Keeps the contract of runtime/sqlite_journal.h except durability; tests/conformance/journal_conformance.h runs on
/// both.
class MemoryJournal final : public Journal {
 public:
  void add_trial(const TrialSpec& spec) override {
    const std::lock_guard lock(mutex_);
    if (const TrialRecord* known = find(spec.id)) {
      require(known->spec == spec, "trial ", spec.id, " is already recorded with other settings");
      return;
    }
    TrialRecord record;
    record.spec = spec;
    const auto later = [&](const TrialRecord& other) { return other.spec.index > spec.index; };
    records_.insert(std::find_if(records_.begin(), records_.end(), later), std::move(record));
  }

  void commit(const VisitCommit& commit, const std::vector<CurvePoint>& curve) override {
    const std::lock_guard lock(mutex_);
    TrialRecord& record = of(commit.trial);
    require_next(record, commit, curve);
    if (record.last && record.last->epoch != commit.epoch) record.visited.clear();
    record.visited.push_back(commit.partition);
    record.last = commit;
    commits_.push_back(commit);
    record.seconds += commit.seconds;
    record.skipped_steps += commit.skipped_steps;
    record.curve.insert(record.curve.end(), curve.begin(), curve.end());
    if (commit.score) record.scores.push_back(*commit.score);
    record.state = TrialState::active;
    record.reason.clear();
  }

  void end_trial(const std::string& trial, TrialState state, const std::string& reason) override {
    const std::lock_guard lock(mutex_);
    TrialRecord& record = of(trial);
    record.state = state;
    record.reason = reason;
  }

  /// Every one, in the order of coming.
  std::vector<VisitCommit> commits() const {
    const std::lock_guard lock(mutex_);
    return commits_;
  }

  std::vector<TrialRecord> trials() const override {
    const std::lock_guard lock(mutex_);
    return records_;
  }

  void add_decision(const SearchDecision& decision) override {
    const std::lock_guard lock(mutex_);
    decisions_.push_back(decision);
  }

  std::vector<SearchDecision> decisions() const override {
    const std::lock_guard lock(mutex_);
    return decisions_;
  }

  void add_operation(const Operation& operation) override {
    const std::lock_guard lock(mutex_);
    for (const auto& known : operations_) {
      require(known.number < operation.number, "operation ", operation.number, " comes after ", known.number);
      require(known.request.token != operation.request.token, "operation ", known.number, " has the same token");
    }
    operations_.push_back(operation);
  }

  void settle_operation(std::uint64_t number, const std::string& outcome) override {
    const std::lock_guard lock(mutex_);
    const auto known =
        std::find_if(operations_.begin(), operations_.end(), [&](const auto& one) { return one.number == number; });
    require(known != operations_.end(), "operation ", number, " is not recorded");
    if (!known->outcome) known->outcome = outcome;
  }

  std::vector<Operation> operations() const override {
    const std::lock_guard lock(mutex_);
    return operations_;
  }

  void put_fact(const std::string& name, const std::string& json) override {
    const std::lock_guard lock(mutex_);
    facts_[name] = json;
  }

  std::optional<std::string> fact(const std::string& name) const override {
    const std::lock_guard lock(mutex_);
    const auto found = facts_.find(name);
    return found == facts_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  TrialRecord* find(const std::string& id) {
    const auto found = std::find_if(records_.begin(), records_.end(), [&](const auto& r) { return r.spec.id == id; });
    return found == records_.end() ? nullptr : &*found;
  }

  TrialRecord& of(const std::string& id) {
    TrialRecord* record = find(id);
    require(record != nullptr, "trial ", id, " is not recorded");
    return *record;
  }

  static void require_next(const TrialRecord& record, const VisitCommit& commit, const std::vector<CurvePoint>& curve) {
    require(!commit.score || commit.score->trial == commit.trial, "trial ", commit.trial, ": the score is another's");
    if (record.last)
      require(std::pair(record.last->epoch, record.last->visit) < std::pair(commit.epoch, commit.visit), "trial ",
              commit.trial, ": visit (", commit.epoch, ", ", commit.visit, ") does not come after the last one");
    std::optional<std::uint64_t> last;
    if (!record.curve.empty()) last = record.curve.back().step;
    for (const CurvePoint& point : curve) {
      require(!last || point.step > *last, "trial ", commit.trial, ": the curve has step ", point.step, " twice");
      last = point.step;
    }
  }

  mutable std::mutex mutex_;          // guards all below
  std::vector<TrialRecord> records_;  // by index
  std::vector<VisitCommit> commits_;
  std::vector<SearchDecision> decisions_;
  std::vector<Operation> operations_;
  std::map<std::string, std::string> facts_;
};

}  // namespace hopyard
