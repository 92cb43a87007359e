#include "select/replay_search.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/failure.h"

namespace hopyard {
namespace {

class ReplaySearcher final : public Searcher {
 public:
  ReplaySearcher(std::vector<ReplayStep> steps, std::string end_reason)
      : steps_(std::move(steps)), end_reason_(std::move(end_reason)) {}

  std::optional<TrialOrder> ask() override {
    pass_over_impossible();
    if (next_ == steps_.size() || steps_[next_].stop || state_of(steps_[next_]) != StepState::ready)
      return std::nullopt;
    TrialOrder order = steps_[next_++].order;
    const bool is_new = !trials_.contains(order.trial.id);
    Trial& trial = trials_[order.trial.id];
    if (is_new) {
      trial.index = static_cast<std::uint32_t>(trials_.size() - 1);
      if (order.trial.lineage) trial.epochs = order.trial.lineage->epochs;
    }
    trial.under_way = true;
    trial.until_epoch = order.until_epoch;
    order.trial.index = trial.index;
    return order;
  }

  void tell(const TrialScore& score) override {
    Trial& trial = known(score.trial);
    if (trial.ended || !trial.under_way)
      fail(ExitCode::usage, "the search was told a score of trial ", score.trial, ", which does not train");
    trial.epochs = score.epoch;
    if (score.epoch == trial.until_epoch) trial.under_way = false;
  }

  void tell_end(const std::string& id, TrialState state) override {
    Trial& trial = known(id);
    require(state > TrialState::active, "the search was told that trial ", id, " ended as ", to_string(state));
    trial.ended = true;
    trial.finished = state == TrialState::finished;
    trial.under_way = false;
  }

  std::vector<TrialStop> take_stops() override {
    std::vector<TrialStop> stops;
    for (pass_over_impossible(); next_ < steps_.size() && steps_[next_].stop; pass_over_impossible()) {
      if (state_of(steps_[next_]) != StepState::ready) return stops;
      stops.push_back(*steps_[next_++].stop);
      known(stops.back().trial).ended = true;
    }
    const bool busy = std::any_of(trials_.begin(), trials_.end(), [](const auto& one) { return one.second.under_way; });
    if (next_ < steps_.size() || busy) return stops;
    for (auto& [id, trial] : trials_)
      if (!std::exchange(trial.ended, true)) stops.push_back({id, end_reason_});
    return stops;
  }

  bool finished() const override {
    return next_ == steps_.size() &&
           std::all_of(trials_.begin(), trials_.end(), [](const auto& one) { return one.second.ended; });
  }

  bool reacts() const override { return true; }

 private:
  struct Trial {
    std::uint32_t index = 0;
    Epochs epochs;
    std::optional<Epochs> until_epoch;
    bool under_way = false, ended = false, finished = false;
  };
  enum class StepState { ready, waits, impossible };

  StepState state_of(const ReplayStep& step) const {
    const std::string& id = step.stop ? step.stop->trial : step.order.trial.id;
    const auto found = trials_.find(id);
    if (found != trials_.end()) {
      if (found->second.under_way) return StepState::waits;
      return found->second.ended ? StepState::impossible : StepState::ready;
    }
    if (step.stop) return StepState::impossible;
    const auto& lineage = step.order.trial.lineage;
    if (!lineage) return StepState::ready;
    const auto parent = trials_.find(lineage->parent);
    if (parent == trials_.end()) return StepState::impossible;
    if (parent->second.under_way) return StepState::waits;
    const bool is_there =
        parent->second.epochs == lineage->epochs && (!parent->second.ended || parent->second.finished);
    return is_there ? StepState::ready : StepState::impossible;
  }

  void pass_over_impossible() {
    while (next_ < steps_.size() && state_of(steps_[next_]) == StepState::impossible) ++next_;
  }

  Trial& known(const std::string& id) {
    const auto found = trials_.find(id);
    if (found == trials_.end())
      fail(ExitCode::usage, "the search was told of trial '", id, "', which it never asked for");
    return found->second;
  }

  const std::vector<ReplayStep> steps_;
  const std::string end_reason_;
  std::size_t next_ = 0;
  std::map<std::string, Trial> trials_;  // by id
};

}  // namespace

std::unique_ptr<Searcher> make_replay_searcher(std::vector<ReplayStep> steps, std::string end_reason) {
  return std::make_unique<ReplaySearcher>(std::move(steps), std::move(end_reason));
}

}  // namespace hopyard
