// A journal whose process dies in the middle.
#pragma once

#include <atomic>
#include <stdexcept>

#include "base/journal.h"

namespace hopyard {

/// Dies at a write, before or after it is done.
class DyingJournal final : public Journal {
 public:
  class Death : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
  };

  DyingJournal(Journal& journal, int writes, bool after) : journal_(journal), writes_(writes), after_(after) {}

  void add_trial(const TrialSpec& spec) override {
    write([&] { journal_.add_trial(spec); });
  }
  void commit(const VisitCommit& commit, const std::vector<CurvePoint>& curve) override {
    write([&] { journal_.commit(commit, curve); });
  }
  void end_trial(const std::string& trial, TrialState state, const std::string& reason) override {
    write([&] { journal_.end_trial(trial, state, reason); });
  }
  void add_decision(const SearchDecision& decision) override {
    write([&] { journal_.add_decision(decision); });
  }
  void add_operation(const Operation& operation) override {
    write([&] { journal_.add_operation(operation); });
  }
  void settle_operation(std::uint64_t number, const std::string& outcome) override {
    write([&] { journal_.settle_operation(number, outcome); });
  }
  std::vector<Operation> operations() const override { return journal_.operations(); }
  void put_fact(const std::string& name, const std::string& json) override { journal_.put_fact(name, json); }
  std::vector<TrialRecord> trials() const override { return journal_.trials(); }
  std::vector<SearchDecision> decisions() const override { return journal_.decisions(); }
  std::optional<std::string> fact(const std::string& name) const override { return journal_.fact(name); }

 private:
  template <class Write>
  void write(Write&& what) {
    const int left = writes_--;  // the committer writes from a thread of its own
    if (left > 0 || (left == 0 && after_)) what();
    if (left <= 0) throw Death("the machine is gone");
  }

  Journal& journal_;
  std::atomic<int> writes_;
  const bool after_;
};

}  // namespace hopyard
